# SPDX-License-Identifier: Apache-2.0
"""
After a power loss: the daemon starts in another boot (which a build with
fault points is told of), and what was not synced is not what was written.
"""

import os
import uuid

import pytest

import client
import crash
from content import MIB
from crash import NAME, World, dice, settle, total
from daemon import wait_until


@pytest.fixture
def world(up):
    return World(up)


@pytest.fixture
def daemon(up, new_entrepot):
    daemon = new_entrepot(up, start=False, retries=1, retry_min="1ms",
                          retry_max="2ms", breaker_failures=1000)
    boot(daemon)
    return daemon


def boot(daemon):
    """The next start is in a boot of its own."""
    path = daemon.folder / "boot_id"
    path.write_text(f"{uuid.uuid4()}\n")
    daemon.env["ENTREPOT_BOOT_ID_FILE"] = str(path)


def synced_then_written(daemon, world, synced=1_200_000, upto=3_000_000):
    """
    A partial that has been synced up to the first number, and written, with
    its map, to near the second; then the plug is pulled.
    """
    up, blob = world.up, world.large
    daemon.learn(NAME, "1", world.index)
    up.fault(kind="cdn", times=1, reset_after=synced)
    up.fault(kind="cdn", when=lambda r: not r.fault, reset_after=0)
    assert not world.try_blob(daemon, blob)
    up.clear_faults()
    path = crash.partial_of(daemon, blob)
    wait_until(lambda: crash.read_map(crash.map_of(path))[1], 5)
    up.fault(kind="cdn", stall_after=upto - synced, times=1)
    daemon.download(NAME, blob.digest).read(upto)
    daemon.kill()
    client.close_all()
    up.clear_faults()
    up.forget()
    written, kept = crash.read_map(crash.map_of(path))
    assert total(kept) == synced, kept
    assert total(written) > synced + MIB // 2, written
    return path, written, kept


def spoil(path, holes, junk=b"\0"):
    """Other bytes everywhere but in these extents."""
    size = path.stat().st_size
    at = 0
    with open(path, "r+b") as file:
        for start, end in [*holes, (size, size)]:
            file.seek(at)
            file.write(junk * (start - at))
            at = end
        file.truncate(size)


@pytest.mark.parametrize("junk", [b"\0", b"x"])
def test_only_what_was_synced_is_trusted(daemon, world, junk):
    daemon.start()
    path, _, synced = synced_then_written(daemon, world)
    spoil(path, synced, junk)
    boot(daemon)
    daemon.start()
    world.pull(daemon)
    assert world.up.bytes_sent(world.large.digest) == \
        world.large.size - total(synced)
    crash.check_kept(daemon, world)


def test_without_a_power_loss_what_was_written_is_trusted(daemon, world):
    daemon.start()
    _, written, _ = synced_then_written(daemon, world)
    daemon.start()
    world.pull(daemon)
    assert world.up.bytes_sent(world.large.digest) == \
        world.large.size - total(written)
    crash.check_kept(daemon, world)


@pytest.mark.parametrize("cut", [0, 1000, 1_199_999])
def test_file_shorter_than_its_map_says_is_not_trusted(daemon, world, cut):
    daemon.start()
    path, *_ = synced_then_written(daemon, world)
    os.truncate(path, cut)
    boot(daemon)
    daemon.start()
    world.pull(daemon)
    assert world.up.bytes_sent(world.large.digest) == world.large.size
    crash.check_kept(daemon, world)


def test_file_that_was_written_later_than_its_name_is_not_trusted(daemon,
                                                                  world):
    """The old map beside a new file."""
    daemon.start()
    path, *_ = synced_then_written(daemon, world)
    size = path.stat().st_size
    path.unlink()
    path.write_bytes(b"\0" * size)
    boot(daemon)
    daemon.start()
    world.pull(daemon)
    assert world.up.bytes_sent(world.large.digest) == world.large.size
    crash.check_kept(daemon, world)


@pytest.mark.parametrize("slot", [0, 1])
def test_map_of_which_one_slot_is_torn_is_read_from_the_other(daemon, world,
                                                              slot):
    daemon.start()
    path, _, synced = synced_then_written(daemon, world)
    with open(crash.map_of(path), "r+b") as file:
        file.seek(slot * crash.SLOT + 80)
        file.write(b"torn")
    spoil(path, synced)
    boot(daemon)
    daemon.start()
    world.pull(daemon)
    assert world.up.bytes_sent(world.large.digest) == \
        world.large.size - total(synced)
    crash.check_kept(daemon, world)


def test_nothing_synced_is_nothing_trusted(daemon, world):
    daemon.start()
    daemon.learn(NAME, "1", world.index)
    world.up.fault(kind="cdn", stall_after=2 * MIB, times=1)
    daemon.download(NAME, world.large.digest).read(2 * MIB)
    daemon.kill()
    client.close_all()
    world.up.clear_faults()
    world.up.forget()
    path = crash.partial_of(daemon, world.large)
    spoil(path, [])
    boot(daemon)
    daemon.start()
    world.pull(daemon)
    assert world.up.bytes_sent(world.large.digest) == world.large.size
    crash.check_kept(daemon, world)


@pytest.mark.parametrize("round", range(8))
def test_losing_power_again_and_again(daemon, world, round):
    """Boot after boot the fill goes on from what was synced."""
    roll = dice("power", round)
    print(f"ENTREPOT_SEED={crash.SEED}")
    daemon.start()
    upto = 0
    for _ in range(3):
        synced = upto + roll.randrange(100_000, 400_000)
        upto = synced + roll.randrange(1_150_000, 1_400_000)
        if upto > world.large.size - 100_000:
            break
        path, kept = go_on(daemon, world, upto)
        spoil(path, kept, roll.choice([b"\0", b"y"]))
        upto = total(kept)
        boot(daemon)
        daemon.start()
    world.up.forget()
    world.pull(daemon)
    assert world.up.bytes_sent(world.large.digest) == world.large.size - upto
    crash.check_kept(daemon, world)


def go_on(daemon, world, upto):
    """One more piece that is synced, then one that is only written."""
    up, blob = world.up, world.large
    path = crash.partial_of(daemon, blob)
    held = total(crash.read_map(crash.map_of(path))[1]) if path else 0
    step = (upto - held) // 4
    up.fault(kind="cdn", reference=blob.digest, times=1, reset_after=step)
    up.fault(kind="cdn", reference=blob.digest, reset_after=0,
             when=lambda r: not r.fault)
    assert not world.try_blob(daemon, blob)
    up.clear_faults()
    path = crash.partial_of(daemon, blob)
    wait_until(lambda: total(crash.read_map(crash.map_of(path))[1]) ==
               held + step, 5)
    up.fault(kind="cdn", reference=blob.digest, times=1,
             stall_after=upto - held - step)
    daemon.download(NAME, blob.digest).read(upto)
    daemon.kill()
    client.close_all()
    up.clear_faults()
    return path, crash.read_map(crash.map_of(path))[1]


@pytest.mark.parametrize("point", ["publish_dir_sync", "publish_commit"])
def test_complete_file_that_the_power_loss_spoilt_is_found_out(
        daemon, world, point):
    """One inode, two names, no record: it is hashed before it is believed."""
    crash.die(daemon, f"{point}:1", lambda: blob_of(daemon, world))
    path = crash.partial_of(daemon, world.large)
    assert path.stat().st_nlink == 2
    spoil(path, [(0, 1000)])
    world.up.forget()
    boot(daemon)
    daemon.start()
    settle(daemon)
    assert not daemon.stored(world.large.digest)
    world.pull(daemon)
    assert world.up.bytes_sent(world.large.digest) == world.large.size
    crash.check_kept(daemon, world)


def test_name_in_blobs_that_the_power_loss_took(daemon, world):
    """Linked, but the folder was not synced: only the staged name is left."""
    crash.die(daemon, "publish_dir_sync:1", lambda: blob_of(daemon, world))
    daemon.stored(world.large.digest).unlink()
    world.up.forget()
    boot(daemon)
    daemon.start()
    world.pull(daemon)
    crash.check_kept(daemon, world)


def test_file_that_comes_back_after_its_removal(daemon, world):
    """Unlinked, but the folder was not synced: its trash row still stands."""
    daemon.start()
    world.pull(daemon)
    crash.wait_kept(daemon, world.contents)
    client.close_all()
    assert daemon.stop() == 0
    path = daemon.stored(world.large.digest)
    os.truncate(path, 1000)
    junk = path.read_bytes()
    crash.die(daemon, "drop_sync:1", lambda: blob_of(daemon, world))
    path.write_bytes(junk)
    boot(daemon)
    daemon.start()
    wait_until(lambda: not path.exists(), 5)
    world.pull(daemon)
    crash.check_kept(daemon, world)


def blob_of(daemon, world):
    try:
        world.try_blob(daemon, world.large)
    except (client.Closed, ConnectionError):
        pass
