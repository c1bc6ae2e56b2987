# SPDX-License-Identifier: Apache-2.0
"""
A disk that is full, or that fails, at each step: clients get right bytes or
an error that says why, nothing wrong is stored, the log has the reason once,
and the next pull is right without a restart.  Needs a build with fault points.
"""

import re
import shutil

import pytest

import client
import content
import crash
from content import MIB
from crash import World, settle
from daemon import wait_until
from push import Pusher, check_state, post_put

REASONS = {"enospc": r"No space left on device",
           "eio": r"Input/output error"}

# What a failure here costs is room on the disk, or a step that is done again:
# nobody is to be told.
SILENT = {"map_write", "map_sync", "publish_unlink", "publish_map",
          "small_unlink", "index_committed"}
# LMDB's commit is tried once more after an error that is none of room.
RETRIED = {("index_commit", "eio")}

FILL = ["partial_create", "map_create", "partial_write", "map_write",
        "publish_sync", "publish_link", "publish_dir_sync",
        "publish_commit", "index_commit", "index_committed",
        "publish_unlink", "publish_map", "small_write", "small_sync",
        "small_unlink"]


def reasons(daemon, action):
    """Log lines with the reason, apart from the fault point's own."""
    return [line for line in daemon.whole_log().splitlines()
            if re.search(REASONS[action], line)
            and not line.startswith("fault: ")]


def happened(daemon, point, action):
    return f"fault: {point}:" in daemon.log() and f":{action}" in daemon.log()


def start_failing(new_entrepot, up, fault):
    daemon = new_entrepot(up, start=False)
    crash.arm(daemon, fault)
    return daemon.start()


def heal(daemon):
    """Restart without the fault; start-up clears away what is left."""
    client.close_all()
    daemon.may_leave_partials = True
    assert daemon.stop() == 0, daemon.tail()
    daemon.check_leftovers()
    daemon.may_leave_partials = False
    crash.arm(daemon, None)
    daemon.start()
    settle(daemon)


def kept_after_pull(daemon, world):
    world.pull(daemon)
    return all(daemon.stored(one.digest) for one in world.contents)


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("passage", [1, 2])
@pytest.mark.parametrize("point", FILL)
def test_failing_once_costs_no_pull(up, new_entrepot, point, passage, action):
    world = World(up)
    daemon = start_failing(new_entrepot, up, f"{point}:{passage}:{action}")
    world.pull(daemon)
    wait_until(lambda: happened(daemon, point, action), 5)
    crash.check_nothing_half_made(daemon, world.contents)
    wait_until(lambda: kept_after_pull(daemon, world), 10)
    quiet = point in SILENT or (point, action) in RETRIED
    wait_until(lambda: quiet or reasons(daemon, action), 5)
    lines = reasons(daemon, action)
    assert len(lines) == (0 if quiet else 1), "\n".join(lines)
    heal(daemon)
    crash.check_kept(daemon, world)


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("point", FILL)
def test_failing_for_good_costs_no_pull(up, new_entrepot, point, action):
    """Every pull goes on from upstream, and says so once for each fill."""
    world = World(up)
    daemon = start_failing(new_entrepot, up, f"{point}:1+:{action}")
    for _ in range(2):
        world.pull(daemon)
        crash.check_nothing_half_made(daemon, world.contents)
    wait_until(lambda: happened(daemon, point, action), 5)
    wait_until(lambda: point in SILENT or reasons(daemon, action), 5)
    lines = reasons(daemon, action)
    if point in SILENT:
        assert not lines, "\n".join(lines)
    else:
        assert 1 <= len(lines) <= 2 * len(world.contents), "\n".join(lines)
    failed = (point, action) == ("index_commit", "eio")
    assert daemon.get("/readyz").status == (503 if failed else 200)
    heal(daemon)
    crash.check_kept(daemon, world)


def break_off(new_entrepot, up, world, fault):
    """A fill that fails for want of an upstream, and syncs what it has."""
    daemon = new_entrepot(up, start=False, retries=0, breaker_failures=1000)
    crash.arm(daemon, fault)
    daemon.start()
    daemon.learn(crash.NAME, "1", world.index)
    up.fault(kind="cdn", times=1, reset_after=1_500_000)
    up.fault(kind="cdn", when=lambda r: not r.fault, reset_after=0)
    assert not world.try_blob(daemon, world.large)
    up.clear_faults()
    up.forget()
    return daemon


@pytest.mark.parametrize("action", ["enospc", "eio"])
def test_sync_that_fails_throws_the_partial_away(up, new_entrepot, action):
    """What a failed sync leaves on the disk is unknown."""
    world = World(up)
    daemon = break_off(new_entrepot, up, world, f"partial_sync:1:{action}")
    wait_until(lambda: happened(daemon, "partial_sync", action), 5)
    wait_until(lambda: not daemon.partials(), 5)
    wait_until(lambda: reasons(daemon, action), 5)
    world.pull(daemon)
    assert up.bytes_sent(world.large.digest) == world.large.size
    assert len(reasons(daemon, action)) == 1
    crash.check_kept(daemon, world)


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("point", ["map_write", "map_sync"])
def test_map_that_fails_costs_nothing_while_we_run(up, new_entrepot, point,
                                                   action):
    world = World(up)
    daemon = break_off(new_entrepot, up, world, f"{point}:1:{action}")
    wait_until(lambda: happened(daemon, point, action), 5)
    assert not reasons(daemon, action)
    world.pull(daemon)
    assert up.bytes_sent(world.large.digest) <= world.large.size
    crash.check_kept(daemon, world)


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("point", ["drop_commit", "drop_unlink", "drop_sync",
                                   "drop_row"])
def test_removal_that_fails(up, new_entrepot, point, action):
    """A damaged blob is not served, whatever its removal meets."""
    world = World(up)
    daemon = new_entrepot(up)
    world.pull(daemon)
    crash.wait_kept(daemon, world.contents)
    client.close_all()
    assert daemon.stop() == 0
    path = daemon.stored(world.large.digest)
    path.write_bytes(path.read_bytes()[:100_000])
    crash.arm(daemon, f"{point}:1:{action}")
    daemon.start()
    world.try_blob(daemon, world.large)
    wait_until(lambda: happened(daemon, point, action), 5)
    world.pull(daemon)
    wait_until(lambda: kept_after_pull(daemon, world), 5)
    heal(daemon)
    crash.check_kept(daemon, world)


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("point", ["discard_map", "discard_unlink"])
def test_discard_that_fails(up, new_entrepot, point, action):
    """Wrong bytes whose name cannot be taken away are not believed later."""
    world = World(up)
    world.lies = True
    daemon = start_failing(new_entrepot, up, f"{point}:1:{action}")
    up.fault(kind="cdn", reference=world.large.digest, times=1,
             flip_at=1_500_000)
    world.try_pull(daemon)
    wait_until(lambda: happened(daemon, point, action), 5)
    world.pull(daemon)
    crash.check_nothing_half_made(daemon, [])
    wait_until(lambda: kept_after_pull(daemon, world), 5)
    heal(daemon)
    crash.check_kept(daemon, world)


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("point", ["recover_read", "recover_map",
                                   "recover_unlink", "discard_map",
                                   "discard_unlink"])
def test_start_up_that_fails(up, new_entrepot, point, action):
    """What start-up could not do, the next one does."""
    world = World(up)
    daemon = new_entrepot(up, start=False)
    before = "publish_commit" if point == "recover_read" else "publish_unlink"
    crash.die(daemon, f"{before}:1",
              lambda: world.try_pull(daemon))
    if point in ("recover_map", "recover_unlink"):
        # A map without its file is removed, not discarded.
        path = next((daemon.data / "partial").rglob("*@*.map"))
        shutil.copy(path, path.with_name(f"{'0' * 64}@docker.io.map"))
    crash.arm(daemon, f"{point}:1:{action}")
    daemon.start()
    wait_until(lambda: happened(daemon, point, action), 5)
    world.pull(daemon)
    crash.check_nothing_half_made(daemon, world.contents)
    wait_until(lambda: kept_after_pull(daemon, world), 5)
    heal(daemon)
    crash.check_kept(daemon, world)


def test_full_index_says_so_before_the_bytes(new_entrepot):
    """Who has begun before it was full is not left to send all for nothing."""
    daemon = new_entrepot(None, {"default_upstream": None}, start=False)
    daemon.may_leave_partials = True
    crash.arm(daemon, "index_commit:1+:enospc")
    daemon.start()
    blob = content.make_blob(4 * MIB)
    small = content.make_blob(1000)
    pusher = Pusher(daemon)
    wheres = [pusher.begin() for _ in range(2)]
    answer = pusher.put(wheres.pop(), small.digest, small.data)
    assert answer.status == 507, answer
    said = answer.message
    assert "no room for the index" in said
    for answer in (Pusher(daemon).patch(wheres[0], blob.data),
                   Pusher(daemon).put(wheres[0], blob.digest, blob.data),
                   Pusher(daemon).ask("POST", pusher.uploads, body=b"")):
        assert (answer.status, answer.message) == (507, said), answer
    check_state(pusher.state(wheres[0]), pusher.uploads, 0)
    assert pusher.ask("DELETE", wheres[0]).status == 204
    heal(daemon)
    answer = post_put(Pusher(daemon), blob)
    assert answer.status == 201, answer
