# SPDX-License-Identifier: Apache-2.0
"""Ranges, of blobs that are held and of blobs that are not."""

import time

import pytest

import client
import content
from client import SLOW, multipart
from content import MIB
from daemon import wait_until

NAME = "library/a"


@pytest.fixture
def cold(up):
    """A blob of 12 MiB whose manifest is at the upstream."""
    image = content.make_image([12 * MIB], "ranges")
    up.put_image(NAME, "1", image)
    return image.layers[0]


@pytest.fixture
def warm(up, entrepot):
    """A blob of 2048 bytes, held."""
    blob = content.make_blob(2048, "warm")
    up.put_blob(NAME, blob)
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)
    return blob


def ask(entrepot, blob, ranges, **headers):
    return entrepot.blob(NAME, blob.digest, {
        "Range": ranges, **{k.replace("_", "-"): v
                            for k, v in headers.items()}})


def check_part(response, blob, first, last):
    assert response.status == 206, response
    assert response.headers["Content-Range"] == \
        f"bytes {first}-{last}/{blob.size}"
    assert response.length == last - first + 1
    assert response.body == blob.data[first:last + 1]


# ---- held ----

@pytest.mark.parametrize("ranges, first, last", [
    ("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047),
    ("2000-5000", 2000, 2047), ("0-0", 0, 0), ("2047-2047", 2047, 2047),
    ("-5000", 0, 2047), ("0-", 0, 2047)])
def test_single_range(up, entrepot, warm, ranges, first, last):
    up.forget()
    check_part(ask(entrepot, warm, f"bytes={ranges}"), warm, first, last)
    assert not up.requests()


@pytest.mark.parametrize("ranges", [
    "5000-10000", "2048-", "500-0", "-0", "3000-4000,5000-6000"])
def test_range_that_cannot_be_satisfied(entrepot, warm, ranges):
    response = ask(entrepot, warm, f"bytes={ranges}")
    assert response.status == 416, response
    assert response.headers["Content-Range"] == f"bytes */{warm.size}"
    assert response.code == "RANGE_INVALID"


@pytest.mark.parametrize("ranges", [
    "lines=0-5", "bytes=a-b", "bytes=", "bytes", "bytes=5", "bytes=--5",
    "bytes=0-5;6-7"])
def test_range_of_unknown_form_is_ignored(entrepot, warm, ranges):
    client.check_blob(ask(entrepot, warm, ranges), warm)


def test_head_ignores_range(entrepot, warm):
    head = entrepot.blob(NAME, warm.digest, {"Range": "bytes=5-9"}, "HEAD")
    assert (head.status, head.length) == (200, warm.size)


@pytest.mark.parametrize("ranges", [
    [(0, 9), (100, 199)], [(1000, 1999), (0, 9)],
    [(0, 99), (50, 149), (0, 99)], [(0, 0)] * 40,
    [(i, i + 1) for i in range(0, 2000, 7)]])
def test_many_ranges_come_in_order_and_unmerged(entrepot, warm, ranges):
    text = ",".join(f"{a}-{b}" for a, b in ranges)
    response = ask(entrepot, warm, f"bytes={text}")
    assert response.status == 206
    parts = multipart(response)
    assert [p[:2] for p in parts] == ranges
    for first, last, total, data in parts:
        assert total == warm.size and data == warm.data[first:last + 1]


def test_many_ranges_of_all_forms(entrepot, warm):
    parts = multipart(ask(entrepot, warm, "bytes=-10, 2000-9999 ,7-7,9999-"))
    assert [p[:2] for p in parts] == [(2038, 2047), (2000, 2047), (7, 7)]


def test_many_ranges_past_the_limit_are_400(up, new_entrepot):
    entrepot = new_entrepot(up, {"server.max_ranges": 10})
    blob = content.make_blob(1000)
    up.put_blob(NAME, blob)
    for count, status in ((10, 206), (11, 400)):
        text = ",".join(f"{i}-{i}" for i in range(count))
        assert ask(entrepot, blob, f"bytes={text}").status == status
    entrepot.may_leave_partials = True


def test_if_range(entrepot, warm):
    etag = f'"{warm.digest}"'
    same = ask(entrepot, warm, "bytes=5-9", If_Range=etag)
    check_part(same, warm, 5, 9)
    for other in ('"sha256:00"', f"W/{etag}",
                  "Sat, 29 Oct 1994 19:43:31 GMT"):
        client.check_blob(ask(entrepot, warm, "bytes=5-9", If_Range=other),
                          warm)


def test_range_of_a_manifest_does_no_harm(up, entrepot, image):
    up.put_image(NAME, "1", image)
    response = entrepot.manifest(NAME, "1", headers={"Range": "bytes=0-9"})
    assert response.status in (200, 206)
    assert response.body == image.data[:response.length]


# ---- cold ----

def test_bounded_range_of_a_cold_blob_fetches_just_that(up, entrepot, cold):
    entrepot.learn(NAME, "1", up_image(up))
    check_part(ask(entrepot, cold, f"bytes={5 * MIB}-{5 * MIB + 999}"), cold,
               5 * MIB, 5 * MIB + 999)
    assert up.bytes_sent(cold.digest) == 1000
    again = ask(entrepot, cold, f"bytes={5 * MIB + 10}-{5 * MIB + 19}")
    check_part(again, cold, 5 * MIB + 10, 5 * MIB + 19)
    assert up.bytes_sent(cold.digest) == 1000
    assert not entrepot.stored(cold.digest)
    entrepot.may_leave_partials = True


def up_image(up):
    """The image at the upstream, as what learn() wants."""
    repo = up.repository(NAME)
    digest = repo.tags["1"]
    kind, data = repo.manifests[digest]
    return content.Image(data, digest, kind)


@pytest.mark.parametrize("known", [True, False])
def test_suffix_of_a_cold_blob(up, entrepot, cold, known):
    if known:
        entrepot.learn(NAME, "1", up_image(up))
    check_part(ask(entrepot, cold, "bytes=-47"), cold, cold.size - 47,
               cold.size - 1)
    assert up.bytes_sent(cold.digest) == 47
    entrepot.may_leave_partials = True


def test_ranges_of_a_cold_blob_add_up_to_a_stored_one(up, entrepot, cold):
    step = 3 * MIB
    for first in (2 * step, 0, 3 * step, step):
        check_part(ask(entrepot, cold, f"bytes={first}-{first + step - 1}"),
                   cold, first, first + step - 1)
    entrepot.wait_stored(cold)
    assert up.bytes_sent(cold.digest) == cold.size


def test_whole_after_ranges_fetches_only_the_rest(up, entrepot, cold):
    check_part(ask(entrepot, cold, f"bytes={4 * MIB}-{6 * MIB - 1}"), cold,
               4 * MIB, 6 * MIB - 1)
    client.check_blob(entrepot.blob(NAME, cold.digest), cold)
    entrepot.wait_stored(cold)
    assert up.bytes_sent(cold.digest) <= cold.size + 512 * 1024


def test_open_range_of_a_cold_blob_fetches_it_all(up, entrepot, cold):
    check_part(ask(entrepot, cold, f"bytes={8 * MIB}-"), cold, 8 * MIB,
               cold.size - 1)
    entrepot.wait_stored(cold)
    assert up.bytes_sent(cold.digest) <= cold.size + 512 * 1024


def test_range_past_the_end_of_a_cold_blob(up, entrepot, cold):
    response = ask(entrepot, cold, f"bytes={cold.size}-")
    assert response.status == 416
    assert response.headers["Content-Range"] == f"bytes */{cold.size}"
    entrepot.may_leave_partials = True


def test_many_ranges_of_a_cold_blob_are_fetched_together(up, new_entrepot,
                                                         cold):
    entrepot = new_entrepot(up, {"fetch.merge_gap": "64K"})
    near = [(i * 20_000, i * 20_000 + 99) for i in range(20)]
    far = [(8 * MIB + a, 8 * MIB + b) for a, b in near]
    text = ",".join(f"{a}-{b}" for a, b in near + far)
    response = ask(entrepot, cold, f"bytes={text}")
    parts = multipart(response)
    assert [p[:2] for p in parts] == near + far
    assert all(p[3] == cold.data[p[0]:p[1] + 1] for p in parts)
    assert len(up.fetches(cold.digest)) <= 3
    assert up.bytes_sent(cold.digest) < MIB
    entrepot.may_leave_partials = True


def test_far_range_does_not_wait_for_the_fill(up, entrepot, cold):
    entrepot.learn(NAME, "1", up_image(up))
    # The fill is to be 4.7 * SLOW s away.
    fill = up.fault(kind="cdn", rate=2_000_000 / SLOW, times=1)
    whole = entrepot.download(NAME, cold.digest)
    whole.read(100_000)
    start = time.monotonic()
    check_part(ask(entrepot, cold, f"bytes={9 * MIB}-{10 * MIB - 1}"), cold,
               9 * MIB, 10 * MIB - 1)
    assert time.monotonic() - start < 1.5 * SLOW
    assert whole.finish().body == cold.data
    assert fill.hits == 1
    entrepot.wait_stored(cold)
    # It leaves out what is there, but for what comes until it has ended.
    assert up.bytes_sent(cold.digest) < cold.size + MIB


def test_range_just_ahead_of_the_fill_waits_for_it(up, entrepot, cold):
    entrepot.learn(NAME, "1", up_image(up))
    fault = up.fault(kind="cdn", stall_after=MIB, times=1)
    whole = entrepot.download(NAME, cold.digest)
    whole.read(MIB)
    near = entrepot.download(NAME, cold.digest,
                             {"Range": f"bytes={2 * MIB}-{2 * MIB + 99}"})
    time.sleep(0.15)
    assert len(up.fetches(cold.digest)) == 1
    fault.release()
    check_part(near.finish(), cold, 2 * MIB, 2 * MIB + 99)
    assert whole.finish().body == cold.data
    assert up.bytes_sent(cold.digest) == cold.size


def test_parallel_open_ranges_as_containerd_sends_them(up, entrepot, cold):
    """Several `N-` at once, each closed after its own part."""
    entrepot.learn(NAME, "1", up_image(up))
    # What sockets hold is the overlap, and what comes until one is closed.
    up.fault(kind="cdn", rate=5_000_000 / SLOW)
    part = 3 * MIB

    def fetch(number):
        download = entrepot.download(NAME, cold.digest,
                                     {"Range": f"bytes={number * part}-"})
        download.read(part)
        download.leave()
        return bytes(download.body)

    parts = client.all_at_once(fetch, range(3))
    last = ask(entrepot, cold, f"bytes={3 * part}-")
    assert b"".join(parts) + last.body == cold.data
    entrepot.wait_stored(cold)
    assert up.bytes_sent(cold.digest) <= cold.size + 2 * MIB


def test_upstream_that_ignores_ranges_still_gives_right_ones(up, entrepot,
                                                             cold):
    entrepot.learn(NAME, "1", up_image(up))
    up.fault(kind="cdn", ignore_range=True)
    check_part(ask(entrepot, cold, f"bytes={5 * MIB}-{5 * MIB + 9}"), cold,
               5 * MIB, 5 * MIB + 9)
    check_part(ask(entrepot, cold, "bytes=-9"), cold, cold.size - 9,
               cold.size - 1)
    client.check_blob(entrepot.blob(NAME, cold.digest), cold)
    entrepot.may_leave_partials = True


def test_upstream_that_answers_another_range_is_not_believed(up, entrepot,
                                                             cold):
    entrepot.learn(NAME, "1", up_image(up))
    up.fault(kind="cdn", headers={
        "Content-Range": f"bytes 100-199/{cold.size}"},
        when=lambda r: r.range and r.range != "bytes=0-0")
    download = entrepot.download(NAME, cold.digest,
                                 {"Range": f"bytes={5 * MIB}-{5 * MIB + 99}"})
    response = download.start()
    if response.status == 206:
        assert download.cut() == b""
    else:
        assert response.status in (502, 503)
    entrepot.may_leave_partials = True


def test_slots_for_far_ranges_are_bounded(up, entrepot, cold):
    entrepot.learn(NAME, "1", up_image(up))
    stall = up.fault(kind="cdn", stall_after=1000)
    asked = [entrepot.download(
        NAME, cold.digest,
        {"Range": f"bytes={n * 2 * MIB}-{n * 2 * MIB + 49_999}"})
        for n in range(6)]
    # Four transfers, and one of them is the fill's.
    wait_until(lambda: len(up.fetches(cold.digest)) == 3)
    time.sleep(0.12)
    assert len(up.fetches(cold.digest)) == 3
    stall.release()
    for n, download in enumerate(asked):
        check_part(download.finish(), cold, n * 2 * MIB, n * 2 * MIB + 49_999)
    entrepot.may_leave_partials = True


# ---- some of them past the end ----

SIZE = 256 * 1024
LAST = SIZE - 1
HOLDBACK = 65_536


@pytest.mark.parametrize("state", ["warm", "cold", "cold, size known"])
@pytest.mark.parametrize("ranges, parts", [
    ("262144-,253948-254948", [(253948, 254948)]),
    ("253948-254948,262144-", [(253948, 254948)]),
    ("9999999-9999999,100-", [(100, LAST)]),
    ("100-,9999999-9999999", [(100, LAST)]),
    ("9999999-9999999,0-", [(0, LAST)]),
    ("0-,9999999-9999999", [(0, LAST)]),
    ("262144-,-100", [(SIZE - 100, LAST)]),
    ("-100,262144-", [(SIZE - 100, LAST)]),
    ("262144-,-100,300000-,253948-254948",
     [(SIZE - 100, LAST), (253948, 254948)]),
    ("262144-,0-", [(0, LAST)]),
    ("9999999-9999999,7-9,200-", [(7, 9), (200, LAST)]),
    ("262144-,9999999-9999999", []),
    ("9999999-9999999,262144-", [])])
def test_ranges_past_the_end_are_left_out(up, entrepot, state, ranges, parts):
    image = content.make_image([SIZE], "past")
    blob = image.layers[0]
    up.put_image(NAME, "1", image)
    if state != "cold":
        entrepot.learn(NAME, "1", image)
    if state == "warm":
        client.check_blob(entrepot.blob(NAME, blob.digest), blob)
        entrepot.wait_stored(blob)
    up.forget()
    response = ask(entrepot, blob, f"bytes={ranges}")
    if not parts:
        assert response.status == 416, response
        assert response.headers["Content-Range"] == f"bytes */{SIZE}"
    elif len(parts) == 1:
        check_part(response, blob, *parts[0])
    else:
        assert response.status == 206, response
        assert multipart(response) == [
            (a, b, SIZE, blob.data[a:b + 1]) for a, b in parts]
    if state == "warm":
        assert not up.requests()
    elif any(last - first > 2000 for first, last in parts):
        entrepot.wait_stored(blob)
    else:
        assert up.bytes_sent(blob.digest) < 2000
        entrepot.may_leave_partials = True


@pytest.mark.parametrize("ranges, first", [
    ("9999999-9999999,100-", 100), ("100-,9999999-9999999", 100),
    ("9999999-9999999,0-", 0), ("0-,9999999-9999999", 0)])
def test_open_range_waits_for_the_proof_whatever_stands_beside_it(
        up, entrepot, ranges, first):
    blob = content.make_blob(SIZE, "wrong")
    up.put_blob(NAME, blob)
    fault = up.fault(kind="cdn", flip_at=150_000, stall_after=SIZE - 200)
    download = entrepot.download(NAME, blob.digest,
                                 {"Range": f"bytes={ranges}"})
    download.read_for(0.2 * SLOW)
    assert len(download.body) <= SIZE - HOLDBACK - first
    fault.release()
    download.cut()
    assert len(download.body) <= SIZE - HOLDBACK - first
    entrepot.wait_log("twice; it is not asked for again")
    assert not entrepot.stored(blob.digest)
