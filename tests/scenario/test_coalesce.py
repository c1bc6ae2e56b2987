# SPDX-License-Identifier: Apache-2.0
"""One flight for a missing blob, however many ask for it."""

import time

import pytest

import client
import content
from client import SLOW, Background, all_at_once
from content import MIB
from daemon import wait_until

NAME = "library/a"


@pytest.fixture
def blob(up):
    blob = content.make_blob(4 * MIB, "shared")
    up.put_blob(NAME, blob)
    return blob


def once(up, blob):
    """Each byte of it was fetched, and once."""
    assert len(up.fetches(blob.digest)) == 1
    assert up.bytes_sent(blob.digest) == blob.size


def test_32_clients_share_one_fetch(up, entrepot, blob):
    up.fault(kind="cdn", rate=20_000_000)
    answers = all_at_once(lambda _: entrepot.blob(NAME, blob.digest),
                          range(32))
    for answer in answers:
        client.check_blob(answer, blob)
    once(up, blob)
    verdicts = [a.verdict for a in answers]
    assert verdicts.count("miss") == 1
    assert set(verdicts) <= {"miss", "joined", "hit"}
    entrepot.wait_stored(blob)


def test_clients_that_come_before_the_upstream_answers_share_too(up, entrepot,
                                                                 blob):
    fault = up.fault(kind=("blob", "cdn"), hold=True)
    waiting = [Background(entrepot.blob, NAME, blob.digest) for _ in range(8)]
    up.wait_for(kind="blob")
    time.sleep(0.1)
    fault.release()
    for one in waiting:
        client.check_blob(one.join(), blob)
    once(up, blob)


def test_second_puller_joins_running_fetch(up, entrepot, blob):
    fault = up.fault(kind="cdn", stall_after=MIB)
    first = entrepot.download(NAME, blob.digest).read(MIB)
    second = entrepot.download(NAME, blob.digest).read(MIB)
    assert second.response.verdict == "joined"
    fault.release()
    assert first.finish().body == second.finish().body == blob.data
    once(up, blob)


def test_bytes_are_passed_on_as_they_arrive(up, entrepot, blob):
    """Nothing waits for a whole piece: 1000 bytes come at once."""
    up.fault(kind="cdn", stall_after=1000)
    download = entrepot.download(NAME, blob.digest)
    start = time.monotonic()
    download.read(1000)
    assert time.monotonic() - start < 2 * SLOW
    entrepot.may_leave_partials = True


def test_joining_at_different_offsets(up, entrepot, blob):
    fault = up.fault(kind="cdn", stall_after=2 * MIB)
    first = entrepot.download(NAME, blob.digest).read(2 * MIB)
    readers = {offset: entrepot.download(
        NAME, blob.digest, {"Range": f"bytes={offset}-"})
        for offset in (1, MIB, 2 * MIB, 3 * MIB)}
    for offset in (1, MIB):
        readers[offset].read(2 * MIB - offset)
    fault.release()
    assert first.finish().body == blob.data
    for offset, reader in readers.items():
        assert reader.finish().body == blob.data[offset:]
    once(up, blob)


def test_one_leaving_does_not_disturb_the_others(up, entrepot, blob):
    fault = up.fault(kind="cdn", stall_after=MIB)
    readers = [entrepot.download(NAME, blob.digest).read(MIB)
               for _ in range(4)]
    readers[0].leave()
    readers[1].leave(reset=True)
    time.sleep(0.05)
    fault.release()
    for reader in readers[2:]:
        assert reader.finish().body == blob.data
    once(up, blob)


def test_fill_finishes_when_all_have_left(up, entrepot, blob):
    fault = up.fault(kind="cdn", stall_after=3 * MIB)
    readers = [entrepot.download(NAME, blob.digest).read(3 * MIB)
               for _ in range(3)]
    for reader in readers:
        reader.leave()
    entrepot.wait_idle()
    fault.release()
    entrepot.wait_stored(blob)
    once(up, blob)


def test_all_leave_halfway_and_return(up, entrepot, blob):
    fault = up.fault(kind="cdn", stall_after=2 * MIB)
    for reader in [entrepot.download(NAME, blob.digest).read(2 * MIB)
                   for _ in range(8)]:
        reader.leave()
    entrepot.wait_idle()
    back = [entrepot.download(NAME, blob.digest).read(2 * MIB)
            for _ in range(8)]
    fault.release()
    for reader in back:
        assert reader.finish().body == blob.data
    once(up, blob)


def test_fill_under_half_done_stops_after_linger_and_is_resumed(
        up, new_entrepot, blob):
    entrepot = new_entrepot(up, linger="200ms")
    fault = up.fault(kind="cdn", stall_after=MIB, times=1)
    entrepot.download(NAME, blob.digest).read(MIB).leave()
    wait_until(lambda: fault.met[0].ended, 3,
               lambda: "the fill goes on for ever")
    assert entrepot.partials()
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    assert up.fetches(blob.digest)[1].range == f"bytes={MIB}-"
    assert up.bytes_sent(blob.digest) == blob.size
    entrepot.wait_stored(blob)


def test_return_within_linger_goes_on_with_the_same_fetch(up, new_entrepot,
                                                          blob):
    entrepot = new_entrepot(up, linger="5s")
    fault = up.fault(kind="cdn", stall_after=MIB)
    entrepot.download(NAME, blob.digest).read(MIB).leave()
    time.sleep(0.2)
    back = entrepot.download(NAME, blob.digest).read(MIB)
    fault.release()
    assert back.finish().body == blob.data
    once(up, blob)


def test_slow_reader_does_not_slow_the_others(up, entrepot):
    blob = content.make_blob(24 * MIB, "large")
    up.put_blob(NAME, blob)
    slow = entrepot.download(NAME, blob.digest, rcvbuf=8192).read(1000)
    start = time.monotonic()
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    assert time.monotonic() - start < 3 * SLOW
    entrepot.wait_stored(blob)
    assert slow.finish().body == blob.data
    once(up, blob)


def test_memory_does_not_grow_with_slow_readers(up, entrepot):
    blob = content.make_blob(16 * MIB, "large")
    up.put_blob(NAME, blob)
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)
    before = entrepot.memory()
    readers = [entrepot.download(NAME, blob.digest, rcvbuf=8192).read(1000)
               for _ in range(50)]
    assert entrepot.memory() - before < 8 * MIB
    for reader in readers:
        reader.leave()


def test_different_blobs_are_fetched_side_by_side(up, entrepot):
    blobs = [content.make_blob(MIB, i) for i in range(4)]
    for blob in blobs:
        up.put_blob(NAME, blob)
    fault = up.fault(kind="cdn", stall_after=1000)
    downloads = [entrepot.download(NAME, b.digest).read(1000) for b in blobs]
    fault.release()
    for download, blob in zip(downloads, blobs):
        assert download.finish().body == blob.data


def test_concurrent_misses_of_one_manifest_are_one_get(up, entrepot, image):
    up.put_image(NAME, "1", image)
    fault = up.fault(kind="manifest", hold=True)
    waiting = [Background(entrepot.manifest, NAME, image.digest)
               for _ in range(8)]
    up.wait_for(kind="manifest")
    time.sleep(0.1)
    fault.release()
    for one in waiting:
        client.check_manifest(one.join(), image)
    assert up.count(kind="manifest", method="GET") == 1


# ---- across repositories and upstreams ----

def test_other_repository_joins_only_with_its_own_yes(up, entrepot, blob):
    up.put_blob("library/b", blob)
    up.put_blob("library/c", content.make_blob(10, "other"))
    fault = up.fault(kind="cdn", name=NAME, stall_after=MIB)
    first = entrepot.download(NAME, blob.digest).read(MIB)
    second = entrepot.download("library/b", blob.digest).read(MIB)
    refused = entrepot.blob("library/c", blob.digest)
    assert (refused.status, refused.code) == (404, "BLOB_UNKNOWN")
    fault.release()
    assert first.finish().body == second.finish().body == blob.data
    assert len(up.fetches(blob.digest)) == 1
    assert up.bytes_sent(blob.digest) == blob.size
    assert up.count(kind="blob", name="library/b") == 1
    assert up.count(kind="blob", name="library/c") == 1


def test_refusal_ends_only_the_repository_that_was_refused(up, entrepot,
                                                           blob):
    """The transfer runs under one repository; that one turns out not to have
    the blob; the other's readers get it all the same."""
    up.put_blob("library/other", content.make_blob(10, "other"))
    fault = up.fault(kind="blob", name="library/other", hold=True)
    refused = Background(entrepot.blob, "library/other", blob.digest)
    up.wait_for(kind="blob", name="library/other")
    served = Background(entrepot.blob, NAME, blob.digest)
    time.sleep(0.1)
    fault.release()
    answer = refused.join()
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
    client.check_blob(served.join(), blob)


def test_two_upstreams_of_one_digest_are_two_flights(new_up, new_entrepot):
    hub, quay = new_up(), new_up()
    blob = content.make_blob(3 * MIB, "both")
    for up in (hub, quay):
        up.put_blob("org/img", blob)
    entrepot = new_entrepot({"docker.io": hub, "quay.io": quay})
    stalled = hub.fault(kind="cdn", stall_after=MIB)
    first = entrepot.download("org/img", blob.digest).read(MIB)
    client.check_blob(entrepot.blob("quay.io/org/img", blob.digest), blob)
    stalled.release()
    assert first.finish().body == blob.data
    entrepot.wait_stored(blob)
    assert hub.bytes_sent(blob.digest) <= blob.size
    assert quay.bytes_sent(blob.digest) == blob.size


def test_upstream_with_wrong_bytes_does_not_spoil_anothers(new_up,
                                                           new_entrepot):
    hub, quay = new_up(), new_up()
    blob = content.make_blob(3 * MIB, "both")
    for up in (hub, quay):
        up.put_blob("org/img", blob)
    entrepot = new_entrepot({"docker.io": hub, "quay.io": quay})
    bad = hub.fault(kind="cdn", stall_after=MIB, flip_at=5)
    reader = entrepot.download("org/img", blob.digest).read(MIB)
    client.check_blob(entrepot.blob("quay.io/org/img", blob.digest), blob)
    entrepot.wait_stored(blob)
    bad.release()
    reader.cut()
    client.check_blob(entrepot.blob("quay.io/org/img", blob.digest), blob)
    assert entrepot.stored(blob.digest).read_bytes() == blob.data
