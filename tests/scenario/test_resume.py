# SPDX-License-Identifier: Apache-2.0
"""Breaks on the way: resumed, moved to another endpoint, survived; and no
byte leaves as the end of a blob before its digest is proven."""

import time

import pytest

import client
import content
from content import MIB
from daemon import seconds, wait_until

NAME = "library/a"
HOLDBACK = 64 * 1024
SIZE = 4 * MIB


@pytest.fixture
def blob(up):
    image = content.make_image([SIZE], "resume")
    up.put_image(NAME, "1", image)
    return image.layers[0]


BREAKS = ["reset_after", "truncate_after", "stall_after"]


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("at", [-1, 0, 1, MIB + 7, SIZE - 1])
def test_break_is_resumed_and_the_client_does_not_notice(up, new_entrepot,
                                                         blob, how, at):
    entrepot = new_entrepot(up, stall=seconds(0.3), first_byte=seconds(0.3))
    up.fault(kind="cdn", times=1, **{how: at})
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)
    assert up.bytes_sent(blob.digest) == blob.size
    if at > 0:
        assert up.fetches(blob.digest)[1].range == f"bytes={at}-"


def test_many_breaks_with_progress_are_no_failure(up, new_entrepot, blob):
    entrepot = new_entrepot(up, retries=2)
    up.fault(kind="cdn", times=10, reset_after=300_000)
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    assert up.bytes_sent(blob.digest) == blob.size
    assert len(up.fetches(blob.digest)) == 11


def test_tries_without_progress_are_bounded(up, new_entrepot, blob):
    entrepot = new_entrepot(up, retries=3)
    fault = up.fault(kind="cdn", skip=1, reset_after=0)
    up.fault(kind="cdn", times=1, reset_after=MIB)
    download = entrepot.download(NAME, blob.digest)
    assert download.cut() == blob.data[:MIB]
    assert 2 <= fault.hits <= 8
    assert not entrepot.stored(blob.digest)
    fault.clear()
    wait_until(lambda: works(entrepot, blob), 5)
    assert up.bytes_sent(blob.digest) == blob.size


def works(entrepot, blob):
    try:
        answer = entrepot.blob(NAME, blob.digest)
    except client.Closed:
        return False
    if answer.status == 200:
        client.check_blob(answer, blob)
    return answer.status == 200


def test_break_before_the_first_byte_is_an_error_not_a_cut(up, new_entrepot,
                                                           blob):
    entrepot = new_entrepot(up, retries=2)
    up.fault(kind="cdn", reset_after=0)
    answer = entrepot.blob(NAME, blob.digest)
    assert answer.status in (502, 503, 504)
    assert "docker.io" in answer.message


def test_signed_url_that_expires_is_asked_for_anew(up, entrepot, blob):
    up.signed_seconds = -1
    first = up.fault(kind="cdn", times=1, hold=True)
    wait = client.Background(entrepot.blob, NAME, blob.digest)
    wait_until(lambda: first.hits, 3)
    up.signed_seconds = 300
    first.release()
    client.check_blob(wait.join(), blob)
    cdn = up.requests("cdn", digest=blob.digest)
    assert [r.status for r in cdn] == [403, 200]
    assert cdn[0].target != cdn[1].target


def test_resumed_transfer_is_redirected_anew(up, entrepot, blob):
    up.signed_seconds = 0.3
    fault = up.fault(kind="cdn", times=1, stall_after=MIB)
    download = entrepot.download(NAME, blob.digest).read(MIB)
    time.sleep(0.4)
    up.cdn.cut()
    fault.release()
    assert download.finish().body == blob.data
    assert up.bytes_sent(blob.digest) == blob.size


def test_token_that_expires_in_the_middle_of_a_blob(new_up, new_entrepot):
    up = new_up(cdn=False)
    blob = content.make_blob(SIZE, "token")
    up.put_blob(NAME, blob)
    up.require_login()
    entrepot = new_entrepot(up, stall=seconds(0.5))
    up.fault(kind="blob", times=1, stall_after=MIB,
             when=lambda r: "authorization" in r.headers)
    download = entrepot.download(NAME, blob.digest).read(MIB)
    up.auth.revoke()
    assert download.finish().body == blob.data
    assert up.bytes_sent(blob.digest) == blob.size
    assert up.count(kind="token") == 2
    assert up.fetches(blob.digest)[1].range == f"bytes={MIB}-"


def test_range_ignored_on_resume_gives_right_bytes(up, entrepot, blob):
    up.fault(kind="cdn", times=1, reset_after=2 * MIB)
    up.fault(kind="cdn", ignore_range=True)
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)


def test_next_endpoint_takes_over(new_up, new_entrepot):
    one, two = new_up(), new_up()
    blob = content.make_blob(SIZE, "two")
    for up in (one, two):
        up.put_blob(NAME, blob)
    entrepot = new_entrepot({"docker.io": [one, two]})
    fault = one.fault(kind="cdn", stall_after=MIB)
    download = entrepot.download(NAME, blob.digest).read(MIB)
    one.close()
    fault.release()
    assert download.finish().body == blob.data
    assert one.bytes_sent(blob.digest) + two.bytes_sent(blob.digest) == \
        blob.size
    assert two.fetches(blob.digest)[0].range == f"bytes={MIB}-"


def test_dead_first_endpoint_costs_little(new_up, new_entrepot, image):
    one, two = new_up(), new_up()
    two.put_image(NAME, "1", image)
    entrepot = new_entrepot({"docker.io": [one, two]}, breaker_failures=1,
                            breaker_hold=seconds(20))
    one.close()
    client.Docker(entrepot.address).pull(NAME, "1", image)
    assert two.requests() and not one.requests()


@pytest.mark.parametrize("status", [500, 502, 503, 404])
def test_endpoint_that_answers_badly_is_passed_over(new_up, new_entrepot,
                                                    status):
    one, two = new_up(), new_up()
    blob = content.make_blob(SIZE, "two")
    for up in (one, two):
        up.put_blob(NAME, blob)
    entrepot = new_entrepot({"docker.io": [one, two]})
    one.fault(kind="cdn", status=status)
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)


# ---- our own restart ----

def half_way(up, entrepot, blob, at=2 * MIB):
    """Start a fill that stalls; the client has what was sent."""
    fault = up.fault(kind="cdn", stall_after=at, times=1)
    download = entrepot.download(NAME, blob.digest).read(at)
    assert bytes(download.body) == blob.data[:at]
    return fault


@pytest.mark.parametrize("kill", [True, False])
def test_restart_half_way_fetches_only_the_rest(up, entrepot, blob, kill):
    half_way(up, entrepot, blob)
    entrepot.may_leave_partials = True
    if not kill:
        entrepot.config.options({"server.deadlines.drain": "100ms"})
        entrepot.reload()
    entrepot.restart(kill=kill)
    entrepot.may_leave_partials = False
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)
    assert up.bytes_sent(blob.digest) <= 1.02 * blob.size


def test_what_a_partial_holds_is_served_at_once_after_a_restart(up, entrepot,
                                                                blob):
    entrepot.learn(NAME, "1", image_of(up))
    half_way(up, entrepot, blob)
    # That the repository has the blob is committed in the background; killed
    # before that, the upstream would have to be asked again.
    entrepot.wait_committed()
    entrepot.restart(kill=True)
    fault = up.fault(kind="any", hold=True)
    download = entrepot.download(NAME, blob.digest).read(MIB)
    assert bytes(download.body) == blob.data[:MIB]
    fault.clear()
    assert download.finish().body == blob.data


def image_of(up):
    repo = up.repository(NAME)
    kind, data = repo.manifests[repo.tags["1"]]
    return content.Image(data, repo.tags["1"], kind)


def test_killed_many_times(up, entrepot, blob):
    """What a client has had does not come again, however little it was."""
    piece = 700_000
    entrepot.may_leave_partials = True
    for had in range(piece, 4 * piece, piece):
        up.fault(kind="cdn", times=1, stall_after=piece)
        download = entrepot.download(NAME, blob.digest).read(had)
        assert bytes(download.body) == blob.data[:had]
        entrepot.restart(kill=True)
    entrepot.may_leave_partials = False
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)
    assert up.bytes_sent(blob.digest) <= 1.02 * blob.size


def test_partial_whose_bytes_were_changed_is_found_out(up, entrepot, blob):
    half_way(up, entrepot, blob)
    entrepot.kill()
    [path] = [entrepot.data / p for p in entrepot.partials()
              if not p.endswith(".map")]
    with open(path, "r+b") as file:
        file.seek(1000)
        file.write(b"wrong")
    entrepot.start()
    try:
        answer = entrepot.blob(NAME, blob.digest)
        assert answer.status >= 500 or answer.body == blob.data
    except client.Closed:
        pass
    wait_until(lambda: works(entrepot, blob), 5)
    entrepot.wait_stored(blob)


@pytest.mark.parametrize("junk", [b"", b"\0" * 64, b"x" * 5000])
def test_map_that_is_damaged_costs_a_fetch_and_no_more(up, entrepot, blob,
                                                       junk):
    half_way(up, entrepot, blob)
    entrepot.kill()
    [path] = [entrepot.data / p for p in entrepot.partials()
              if p.endswith(".map")]
    path.write_bytes(junk)
    entrepot.start()
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)


def test_kill_after_publishing_keeps_the_blob(up, entrepot, blob):
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)
    entrepot.restart(kill=True)
    up.forget()
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    assert up.bytes_sent(blob.digest) == 0


# ---- proof ----

def test_last_64_kib_wait_for_the_proof(up, entrepot, blob):
    fault = up.fault(kind="cdn", stall_after=SIZE - 1)
    download = entrepot.download(NAME, blob.digest).read(SIZE - HOLDBACK)
    download.read_for(0.2)
    assert len(download.body) == SIZE - HOLDBACK
    fault.release()
    assert download.finish().body == blob.data


@pytest.mark.parametrize("size", [1, 1000, HOLDBACK])
def test_blob_no_larger_than_that_waits_whole(up, entrepot, size):
    blob = content.make_blob(size, "little")
    up.put_blob(NAME, blob)
    fault = up.fault(kind="cdn", stall_after=size - 1)
    download = entrepot.download(NAME, blob.digest)
    up.wait_for(kind="cdn")
    time.sleep(0.1)
    fault.release()
    assert download.finish().body == blob.data


def test_resumed_range_waits_for_the_proof_too(up, entrepot, blob):
    fault = up.fault(kind="cdn", stall_after=SIZE - 1, times=1)
    entrepot.download(NAME, blob.digest).read(MIB)
    open_range = entrepot.download(NAME, blob.digest,
                                   {"Range": f"bytes={SIZE - 100_000}-"})
    open_range.read(100_000 - HOLDBACK).read_for(0.2)
    assert len(open_range.body) == 100_000 - HOLDBACK
    fault.release()
    assert open_range.finish().body == blob.data[-100_000:]


def test_bounded_range_of_the_end_does_not_wait(up, entrepot, blob):
    entrepot.learn(NAME, "1", image_of(up))
    answer = entrepot.blob(NAME, blob.digest, {"Range": "bytes=-51"})
    assert answer.body == blob.data[-51:]
    entrepot.may_leave_partials = True


@pytest.mark.parametrize("at", [0, MIB, SIZE - 1])
def test_wrong_bytes_never_complete_and_are_not_stored(up, entrepot, blob,
                                                       at):
    fault = up.fault(kind="cdn", flip_at=at)
    download = entrepot.download(NAME, blob.digest)
    got = download.cut()
    assert len(got) <= SIZE - HOLDBACK
    wait_until(lambda: fault.hits >= 2, 5)
    time.sleep(0.2)
    assert not entrepot.stored(blob.digest)
    assert fault.hits == 2, "one fresh try, not more"


def test_wrong_once_is_right_at_the_next_pull(up, entrepot, blob):
    up.fault(kind="cdn", flip_at=MIB, times=1)
    entrepot.download(NAME, blob.digest).cut()
    wait_until(lambda: works(entrepot, blob), 5)
    entrepot.wait_stored(blob)


def test_reader_that_has_had_no_byte_gets_the_fresh_try(up, entrepot):
    blob = content.make_blob(50_000, "little")
    up.put_blob(NAME, blob)
    up.fault(kind="cdn", flip_at=49_999, times=1)
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    assert len(up.fetches(blob.digest)) == 2


def test_wrong_twice_fails_for_a_while_without_asking(up, new_entrepot,
                                                      blob):
    entrepot = new_entrepot(up, mismatch_hold=seconds(3))
    fault = up.fault(kind="cdn", flip_at=MIB)
    entrepot.download(NAME, blob.digest).cut()
    entrepot.wait_log("twice; it is not asked for again")
    assert fault.hits == 2
    asked = up.count(kind=("blob", "cdn"))
    answer = entrepot.blob(NAME, blob.digest)
    assert answer.status == 502 and "digest" in answer.message
    part = entrepot.blob(NAME, blob.digest, {"Range": "bytes=0-99"})
    assert part.status == 502
    assert up.count(kind=("blob", "cdn")) == asked
    fault.clear()
    wait_until(lambda: works(entrepot, blob), 10)


def test_blob_longer_or_shorter_than_declared_is_refused(up, new_entrepot):
    """The manifest says one size, the upstream gives another."""
    entrepot = new_entrepot(up, retries=1, mismatch_hold="1ms")
    image = content.make_image([300_000], "sized")
    up.put_image(NAME, "1", image)
    entrepot.learn(NAME, "1", image)
    blob = image.layers[0]
    for wrong in (blob.data + b"x", blob.data[:-1]):
        up.repository(NAME).blobs[blob.digest] = wrong
        try:
            answer = entrepot.blob(NAME, blob.digest)
            assert answer.status == 502
        except client.Closed as error:
            assert len(error.data) <= blob.size - HOLDBACK
        assert not entrepot.stored(blob.digest)
    up.put_blob(NAME, blob)
    wait_until(lambda: works(entrepot, blob), 5)


def test_stored_blob_that_lost_its_file_is_fetched_again(up, entrepot, blob):
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)
    entrepot.stop()
    entrepot.stored(blob.digest).unlink()
    entrepot.start()
    wait_until(lambda: works(entrepot, blob), 5)
    entrepot.wait_stored(blob)
