# SPDX-License-Identifier: Apache-2.0
"""
kill -9 at each step that a fill, a removal, a discard and start-up take on
the disk, at each passage; then a restart on the same data.  Needs a build
with fault points.

ENTREPOT_KILLS is how many kills there are in all; ENTREPOT_SEED repeats a
run.
"""

import os
import shutil

import pytest

import client
import content
import crash
from content import MIB
from crash import NAME, World, dice, die
from daemon import wait_until

KILLS = int(os.environ.get("ENTREPOT_KILLS") or 100)


class Kill:
    """One kill: a point, a passage, and the numbers for the rest."""

    def __init__(self, point, passage, dice):
        self.point = point
        self.passage = passage
        self.dice = dice
        self.disturbed = False  # the test itself has put wrong bytes there
        self.may_lack = None    # what a check may say of that

    @property
    def fault(self):
        return f"{self.point}:{self.passage}"


# ---- how each point is reached ----

def fill(kill, daemon, world):
    """A pull of everything into an empty store."""
    die(daemon, kill.fault, lambda: world.try_pull(daemon))


def give_up(kill, daemon, world):
    """
    Fills that fail for want of an upstream: each syncs what it has and keeps
    it.
    """
    daemon.config.upstream("docker.io", retries=1, retry_min="1ms",
                           retry_max="2ms", breaker_failures=1000)

    def act():
        digest = world.large.digest
        daemon.learn(NAME, "1", world.index)
        for _ in range(kill.passage):
            world.up.fault(kind="cdn", reference=digest, times=1,
                           reset_after=kill.dice.randrange(1, MIB))
            world.up.fault(kind="cdn", reference=digest, reset_after=0,
                           when=lambda r: not r.fault)
            try_large(daemon, world)
            world.up.clear_faults()
    die(daemon, kill.fault, act)


def try_large(daemon, world):
    try:
        world.try_blob(daemon, world.large)
    except (client.Closed, ConnectionError):
        pass


def fill_of_many_mib(kill, daemon, world):
    """The sync in the midst of a large blob."""
    world.__init__(world.up, "many", 66 * MIB)
    die(daemon, kill.fault, lambda: try_large(daemon, world))


def sync_on_the_way(kill, daemon, world):
    once = kill.passage == 1 and kill.dice.random() < 0.3
    (fill_of_many_mib if once else give_up)(kill, daemon, world)


def remove(kill, daemon, world):
    """Blobs whose files were damaged are dropped when they are asked for."""
    daemon.start()
    world.pull(daemon)
    crash.wait_kept(daemon, world.contents)
    client.close_all()
    assert daemon.stop() == 0
    kill.disturbed = True
    kill.may_lack = "its file has another size|has a row but no file"
    for blob in world.blobs:
        path = daemon.stored(blob.digest)
        if kill.dice.random() < 0.2:
            path.unlink()
        else:
            os.truncate(path, kill.dice.randrange(blob.size))
    die(daemon, kill.fault, lambda: world.try_pull(daemon))


def discard(kill, daemon, world):
    """Wrong bytes come, are thrown away, and are asked for afresh."""
    kill.disturbed = world.lies = True
    for blob in world.blobs:
        world.up.fault(kind="cdn", reference=blob.digest, times=1,
                       flip_at=kill.dice.randrange(blob.size))
    die(daemon, kill.fault, lambda: world.try_pull(daemon))


def recover_complete(kill, daemon, world):
    """Start-up meets a file with two names and no record."""
    point = kill.dice.choice(["publish_dir_sync", "publish_commit"])
    die(daemon, f"{point}:1", lambda: try_large(daemon, world))
    die(daemon, kill.fault)


def recover_names(kill, daemon, world):
    """Start-up meets a name left over, and maps without their files."""
    die(daemon, "publish_unlink:1", lambda: try_large(daemon, world))
    path = crash.partial_of(daemon, world.large)
    for i in range(kill.passage):
        other = content.digest_of(b"%d" % i).partition(":")[2]
        shutil.copy(crash.map_of(path),
                    path.with_name(f"{other}@docker.io.map"))
    die(daemon, kill.fault)


# point: (how it is reached, how often that surely passes it)
POINTS = {
    "partial_create": (fill, 3),
    "map_create": (fill, 3),
    "partial_write": (fill, 14),
    "map_write": (fill, 2),
    "partial_sync": (sync_on_the_way, 3),
    "map_sync": (sync_on_the_way, 3),
    "publish_sync": (fill, 3),
    "publish_link": (fill, 5),
    "publish_dir_sync": (fill, 5),
    "publish_commit": (fill, 5),
    "index_commit": (fill, 6),
    "index_committed": (fill, 6),
    "publish_unlink": (fill, 3),
    "publish_map": (fill, 3),
    "small_write": (fill, 2),
    "small_sync": (fill, 2),
    "small_unlink": (fill, 2),
    "drop_commit": (remove, 3),
    "drop_unlink": (remove, 3),
    "drop_sync": (remove, 3),
    "drop_row": (remove, 3),
    "discard_map": (discard, 3),
    "discard_unlink": (discard, 3),
    "recover_read": (recover_complete, 50),
    "recover_map": (recover_names, 4),
    "recover_unlink": (recover_names, 4),
}


def kills():
    """(point, passage, round): the first, the second, then any."""
    found = []
    for i in range(max(KILLS, len(POINTS))):
        again, at = divmod(i, len(POINTS))
        point = list(POINTS)[at]
        most = POINTS[point][1]
        passage = again + 1 if again < min(2, most) else \
            dice(point, again).randint(1, most)
        found.append((point, passage, again))
    return found


# ---- what must be true afterwards ----

def check_fetched(world, missing):
    """No byte is fetched again but those that no map vouches for."""
    for blob, wanted in missing.items():
        sent = world.up.bytes_sent(blob.digest)
        assert sent == wanted, \
            f"{sent} bytes of {blob.digest}, for want of {wanted}"


def pull_in_the_end(daemon, world):
    """
    Where a partial holds wrong bytes the first pull finds it out, and is cut
    if it has had some of them.
    """
    def pulled():
        try:
            world.pull(daemon)
        except client.Closed:
            return False
        return True
    wait_until(pulled, 5)


@pytest.mark.parametrize("point,passage,again", kills())
def test_killed_there_it_loses_nothing(up, new_entrepot, point, passage,
                                       again):
    print(f"ENTREPOT_SEED={crash.SEED}")
    world = World(up)
    daemon = new_entrepot(up, start=False)
    kill = Kill(point, passage, dice(point, passage, again))
    POINTS[point][0](kill, daemon, world)
    up.clear_faults()
    up.forget()
    if not kill.disturbed:
        crash.check_nothing_half_made(daemon, world.contents)
    daemon.start()
    crash.check_recovered(daemon, kill.may_lack)
    if kill.disturbed:
        pull_in_the_end(daemon, world)
    else:
        crash.check_nothing_half_made(daemon, world.contents)
        missing = {b: crash.missing_of(daemon, b) for b in world.blobs}
        world.pull(daemon)
        check_fetched(world, missing)
    crash.check_kept(daemon, world)


@pytest.mark.parametrize("point", ["publish_dir_sync", "publish_commit"])
def test_pull_does_not_wait_for_start_up_to_hash(up, new_entrepot, point):
    """Linked, but without its record: no byte of it is fetched again, though
    the pull comes before start-up has seen to it."""
    world = World(up, large=40 * MIB)
    daemon = new_entrepot(up, start=False)
    die(daemon, f"{point}:1", lambda: try_large(daemon, world))
    up.forget()
    missing = {b: crash.missing_of(daemon, b) for b in world.blobs}
    daemon.start()
    client.check_blob(daemon.blob(NAME, world.large.digest), world.large)
    world.pull(daemon)
    check_fetched(world, missing)
    crash.check_kept(daemon, world)
