# SPDX-License-Identifier: Apache-2.0
"""No room on the disk: content passes through, and nothing wrong is kept."""

import os
import subprocess
import time

import pytest

import client
import content
from client import all_at_once
from content import MIB
from daemon import wait_until

NAME = "library/a"
EVERYTHING = "1000000G"


@pytest.fixture
def full(up, new_entrepot):
    """A daemon that may not use a byte of the disk."""
    return new_entrepot(up, {"cache.min_free": EVERYTHING}, check="always")


def test_pull_below_min_free_passes_through(up, full, image):
    up.put_image(NAME, "1", image)
    for _ in range(2):
        client.Docker(full.address).pull(NAME, "1", image)
        client.Containerd(full.address).pull(NAME, "1", image)
    blob = image.layers[0]
    answer = full.blob(NAME, blob.digest)
    client.check_blob(answer, blob)
    assert answer.verdict == "pass"
    assert not any(full.stored(b.digest) for b in image.blobs)
    assert not full.partials()


def test_one_upstream_transfer_per_reader_without_room(up, full):
    blob = content.make_blob(500_000)
    up.put_blob(NAME, blob)
    for answer in all_at_once(lambda _: full.blob(NAME, blob.digest),
                              range(4)):
        client.check_blob(answer, blob)
    assert len(up.fetches(blob.digest)) == 4


def test_ranges_without_room(up, full):
    blob = content.make_blob(500_000)
    up.put_blob(NAME, blob)
    for text, first, last in (("100-199", 100, 199), ("-50", 499_950, 499_999),
                              ("400000-", 400_000, 499_999)):
        answer = full.blob(NAME, blob.digest, {"Range": f"bytes={text}"})
        assert answer.status == 206
        assert answer.body == blob.data[first:last + 1]
        assert answer.headers["Content-Range"] == \
            f"bytes {first}-{last}/500000"
    head = full.blob(NAME, blob.digest, method="HEAD")
    assert (head.status, head.length) == (200, blob.size)


def test_wrong_bytes_never_complete_without_room(up, full):
    blob = content.make_blob(500_000)
    up.put_blob(NAME, blob)
    up.fault(kind="cdn", flip_at=1000)
    try:
        answer = full.blob(NAME, blob.digest)
        assert answer.status == 502
    except client.Closed as error:
        assert len(error.data) < blob.size


def test_break_is_resumed_without_room(up, full):
    blob = content.make_blob(500_000)
    up.put_blob(NAME, blob)
    up.fault(kind="cdn", times=1, reset_after=200_000)
    client.check_blob(full.blob(NAME, blob.digest), blob)


def test_slow_reader_without_room_holds_its_own_transfer(up, full):
    """The upstream is not read faster than the client takes it."""
    blob = content.make_blob(48 * MIB)
    up.put_blob(NAME, blob)
    before = full.memory()
    download = full.download(NAME, blob.digest, rcvbuf=8192).read(1000)
    time.sleep(0.4)
    assert full.memory() - before < 8 * MIB
    assert up.bytes_sent(blob.digest) < blob.size
    download.leave()
    wait_until(lambda: up.requests("cdn")[-1].ended, 5)


def test_room_again_is_noticed(up, full, image):
    up.put_image(NAME, "1", image)
    client.Docker(full.address).pull(NAME, "1", image)
    full.config.options({"cache.min_free": 0})
    full.reload()

    def kept():
        client.Docker(full.address).pull(NAME, "1", image)
        return all(full.stored(b.digest) for b in image.blobs)
    wait_until(kept, 8)
    up.close()
    client.Docker(full.address).pull(NAME, "1", image)


def test_readyz_and_a_restart_without_room(up, full, image):
    up.put_image(NAME, "1", image)
    assert full.get("/readyz").status == 200
    full.restart()
    client.Docker(full.address).pull(NAME, "1", image)


def test_reason_is_logged_once(up, full, image):
    up.put_image(NAME, "1", image)
    for _ in range(5):
        client.Docker(full.address).pull(NAME, "1", image)
    lines = [l for l in full.whole_log().splitlines()
             if "min_free" in l or "No space" in l]
    assert 1 <= len(lines) <= 3, lines


# ---- a small disk that really fills ----

def fill(folder, leave=0):
    """Write a file until the disk is full but for `leave` bytes."""
    path = folder / "ballast"
    with open(path, "ab") as file:
        step = MIB
        while step >= 4096:
            free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
            if free - leave < step:
                step //= 2
                continue
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, 2), step)
            except OSError:
                step //= 2
    return path


@pytest.fixture
def on_small_disk(small_disk, up, new_entrepot):
    entrepot = new_entrepot(up, {"data": str(small_disk / "data")},
                            start=False, check="always")
    entrepot.data = small_disk / "data"
    entrepot.start()
    yield entrepot
    client.close_all()
    entrepot.stop()
    entrepot.check_complaints()


def test_disk_that_fills_in_the_middle_of_a_fill(up, on_small_disk,
                                                 small_disk):
    entrepot = on_small_disk
    blob = content.make_blob(32 * MIB, "too large")
    up.put_blob(NAME, blob)
    answers = all_at_once(lambda _: entrepot.blob(NAME, blob.digest),
                          range(3))
    for answer in answers:
        client.check_blob(answer, blob)
    assert not entrepot.stored(blob.digest)
    wait_until(lambda: not entrepot.partials(), 5)
    small = content.make_blob(100_000, "small")
    up.put_blob(NAME, small)
    client.check_blob(entrepot.blob(NAME, small.digest), small)
    entrepot.wait_stored(small)


def test_full_disk_passes_through_and_recovers(up, on_small_disk, small_disk,
                                               image):
    entrepot = on_small_disk
    up.put_image(NAME, "1", image)
    client.Docker(entrepot.address).pull(NAME, "1", image)
    for blob in image.blobs:
        entrepot.wait_stored(blob)
    ballast = fill(small_disk)
    other = content.make_image([400_000, 30_000], "other")
    up.put_image(NAME, "2", other)
    for _ in range(2):
        client.Docker(entrepot.address).pull(NAME, "2", other)
        client.Docker(entrepot.address).pull(NAME, "1", image)
    assert entrepot.get("/readyz").status == 200
    ballast.unlink()

    def kept():
        client.Docker(entrepot.address).pull(NAME, "2", other)
        # A file whose record finds no room is there for a moment, too.
        return entrepot.get("/readyz").body == b"ready\n" and \
            all(entrepot.stored(b.digest) for b in other.blobs)
    wait_until(kept, 12)
    # The pull that found room again may have done so behind its manifest.
    client.Docker(entrepot.address).pull(NAME, "2", other)
    entrepot.wait_committed()
    up.close()
    client.Docker(entrepot.address).pull(NAME, "2", other)


def test_start_on_a_full_disk(up, on_small_disk, small_disk, image):
    entrepot = on_small_disk
    up.put_image(NAME, "1", image)
    client.Docker(entrepot.address).pull(NAME, "1", image)
    for blob in image.blobs:
        entrepot.wait_stored(blob)
    entrepot.stop()
    fill(small_disk)
    entrepot.start()
    up.close()
    client.Docker(entrepot.address).pull(NAME, "1", image)


@pytest.fixture
def tiny_disk(tmp_path):
    """Folders cost nothing on it, so that files are what finds no room."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none",
                    str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("leave", [0, 4096, 8192, 12288, 16384])
def test_first_start_on_a_full_disk_says_so(new_entrepot, tiny_disk, leave):
    entrepot = new_entrepot(start=False)
    entrepot.config.options({"data": str(tiny_disk / "data")})
    ballast = fill(tiny_disk, leave)
    entrepot.start(wait=False)
    assert entrepot.wait_exit() == 1, entrepot.tail()
    assert "No space left" in entrepot.log()
    ballast.unlink()
    entrepot.start()
    assert entrepot.get("/readyz").status == 200
    entrepot.stop()
