# SPDX-License-Identifier: Apache-2.0
"""
kill -9 at each step that pushes, tags that move, deletes and collection take
on the disk; then a start on the same data.  What had been acknowledged is
there, byte for byte; what was under way is there whole or not at all.  Needs
a build with fault points.

ENTREPOT_KILLS / 2 is how many kills there are in all; ENTREPOT_SEED repeats
a run.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import client
import content
import crash
import datasets
from content import MIB
from crash import dice, die
from daemon import BINARY, ROOT, Config, Daemon, wait_until
from push import NAME, Pusher

KILLS = int(os.environ.get("ENTREPOT_KILLS") or 100) // 2
# Collection and snapshots come where a test wants them.
OPTIONS = {"default_upstream": None, "collect.interval": "24h"}
LONG = f"team/{'long' * 62}"
LONG_TAGS = [f"{i:02}".ljust(128, "t") for i in range(32)]


# ---- what is pushed, and what has to be there of it ----

class Content:
    """Two images of which one has a manifest too large for the index, an
    index over them, and an artifact that names the first."""

    def __init__(self):
        layers = [content.make_blob(size, f"crash/{size}") for size in
                  (300_000, MIB + 1, 2 * MIB + 7)]
        self.first = content.make_image(layers[:2], "first")
        self.second = content.make_image(layers[1:], "second", pad=100_000)
        self.index = content.make_index([self.first, self.second])
        self.artifact = content.make_image(
            [layers[0]], "artifact", subject=self.first,
            artifact_type=datasets.EXAMPLE)
        self.long = content.make_blob(300_000, "crash/long", alg="sha512")
        self.images = [self.first, self.second, self.index, self.artifact]
        self.blobs = list({b.digest: b for b in [
            *self.index.blobs, *self.artifact.blobs, self.long]}.values())

    @property
    def everything(self):
        return [*self.blobs, *self.images]


class State:
    """What a repository shows: digests, and {tag: digest}."""

    def __init__(self, digests=(), tags=()):
        self.digests = set(digests)
        self.tags = dict(tags)

    def __eq__(self, other):
        return (self.digests, self.tags) == (other.digests, other.tags)

    def __repr__(self):
        return f"<{sorted(self.digests)} {self.tags}>"

    def put(self, digest, tags=()):
        return State(self.digests | {digest},
                     {**self.tags, **{tag: digest for tag in tags}})

    def untag(self, tag):
        return State(self.digests, {key: digest for key, digest in
                                    self.tags.items() if key != tag})

    def drop(self, digest):
        return State(self.digests - {digest}, {
            tag: held for tag, held in self.tags.items() if held != digest})


class Writer:
    """
    One request after the other.  `state` is what has been acknowledged,
    `maybe` what it is once the request under way has been, too; `sessions`
    are uploads: {location: (blob, bytes acknowledged, bytes sent)}.
    """

    def __init__(self, daemon, held):
        self.daemon = daemon
        self.held = held
        self.pusher = None
        self.state = self.maybe = State()
        self.sessions = {}
        self.ended = None  # the session that the last request ends

    def ask(self, after, call, *what):
        """call(*what) for an answer that is good; `after`: then so."""
        self.maybe = after
        answer = call(*what)
        assert answer.status in (201, 202, 204), answer
        self.state = after
        return answer

    def request(self, method, path, after=None):
        return self.ask(after or self.state, self.pusher.ask, method, path)

    def begin(self, blob):
        where = self.ask(self.state, self.pusher.ask, "POST",
                         self.pusher.uploads, {}, b"").headers["Location"]
        self.sessions[where] = (blob, 0, 0)
        return where

    def patch(self, where, data, call):
        blob, done, _ = self.sessions[where]
        self.sessions[where] = (blob, done, done + len(data))
        self.ask(self.state, call, where, data)
        self.sessions[where] = (blob, done + len(data), done + len(data))

    def put(self, where, data=b""):
        blob, _, sent = self.sessions[where]
        self.sessions[where] = (blob, sent, sent + len(data))
        self.ended = where
        self.ask(self.state.put(blob.digest), self.pusher.put, where,
                 blob.digest, data)
        del self.sessions[where]

    def upload(self, blob, form):
        where = self.begin(blob)
        half = blob.size // 2
        if form == "whole":
            self.put(where, blob.data)
        elif form == "stream":
            self.patch(where, blob.data, self.pusher.stream)
            self.put(where)
        else:
            self.patch(where, blob.data[:half], self.pusher.patch)
            self.put(where, blob.data[half:])

    def manifest(self, image, *tags):
        """By digest; then each tag by itself, or all at once."""
        self.ask(self.state.put(image.digest), self.pusher.put_manifest, image)
        for tag in tags:
            self.tag(image, tag)

    def tag(self, image, tag):
        self.ask(self.state.put(image.digest, [tag]),
                 self.pusher.put_manifest, image, tag)

    def push_all(self):
        """Every form of upload; a tag that moves; tags by parameter."""
        held = self.held
        for number, blob in enumerate(held.blobs):
            self.upload(blob, ("whole", "stream", "halves")[number % 3])
        self.manifest(held.first, "moving")
        self.manifest(held.second, "moving")
        self.ask(self.state.put(held.index.digest, ["a", "b"]),
                 self.pusher.put_manifest, held.index, None, ["a", "b"])
        self.manifest(held.artifact, "artifact")
        self.manifest(held.first, "moving")

    def give_up(self):
        """A session that is cancelled, and a PUT that goes back."""
        blob = self.held.long
        where = self.begin(blob)
        self.patch(where, blob.data[:70_000], self.pusher.patch)
        self.ended = where
        self.request("DELETE", where)
        del self.sessions[where]
        where = self.begin(blob)
        self.patch(where, blob.data[:70_000], self.pusher.patch)
        wrong = content.Blob(blob.data + b"1", blob.digest)
        self.sessions[where] = (blob, 70_000, wrong.size)
        answer = self.pusher.put(where, blob.digest, wrong.data[70_000:])
        assert answer.status == 400, answer
        self.put(where, blob.data[70_000:])

    def delete_all(self):
        """Tags, manifests that nothing names, blobs."""
        state = self.state
        for tag in list(state.tags)[:2]:
            self.request("DELETE", f"/v2/{NAME}/manifests/{tag}",
                         self.state.untag(tag))
        for image in (self.held.index, self.held.artifact, self.held.second,
                      self.held.first):
            self.request("DELETE", f"/v2/{NAME}/manifests/{image.digest}",
                         self.state.drop(image.digest))
        for blob in self.held.blobs:
            self.request("DELETE", f"/v2/{NAME}/blobs/{blob.digest}",
                         self.state.drop(blob.digest))

    def work(self):
        """Everything, until it is killed."""
        self.pusher = Pusher(self.daemon)
        try:
            self.push_all()
            self.give_up()
            self.delete_all()
            self.push_all()
            self.maybe = self.state
        except (client.Closed, ConnectionError):
            pass


# ---- what is there ----

def seen(daemon, held):
    """The State of the repository; whatever comes is right, or is a 404."""
    found = State()
    connection = daemon.connect()
    for blob in held.blobs:
        answer = connection.get(f"/v2/{NAME}/blobs/{blob.digest}")
        if answer.status != 404:
            client.check_blob(answer, blob)
            found = found.put(blob.digest)
    for image in held.images:
        answer = connection.get(f"/v2/{NAME}/manifests/{image.digest}")
        if answer.status != 404:
            client.check_manifest(answer, image)
            found = found.put(image.digest)
    answer = connection.get(f"/v2/{NAME}/tags/list")
    assert answer.status in (200, 404), answer
    for tag in answer.json().get("tags") or []:
        found.tags[tag] = connection.head(f"/v2/{NAME}/manifests/{tag}").digest
    answer = connection.get(f"/v2/{NAME}/referrers/{held.first.digest}")
    named = [one["digest"] for one in answer.json()["manifests"]]
    assert named == [held.artifact.digest] * (
        held.artifact.digest in found.digests)
    connection.close()
    return found


def settle(daemon):
    """Until start-up has done what it found to do with finished uploads."""
    wait_until(lambda: not [p for p in daemon.partials()
                            if re.search(r"@sha\d+-", p)], 10,
               lambda: f"start-up leaves {daemon.partials()}\n{daemon.tail()}")


def check_sessions(daemon, writer):
    """
    What was acknowledged of each is there, and no more than was sent; it goes
    on from there.
    """
    pusher = Pusher(daemon)
    for where, (blob, done, sent) in writer.sessions.items():
        answer = pusher.state(where)
        if answer.status == 404:
            assert where == writer.ended, f"{where} has gone"
            continue
        assert answer.status == 204, answer
        offset = int(answer.headers["Range"].partition("-")[2])
        offset += offset > 0
        assert done <= max(offset, min(done, 1)) and offset <= sent, \
            (answer, done, sent)
        answer = pusher.put(where, blob.digest, blob.data[offset:])
        assert answer.status == 201, answer
        client.check_blob(daemon.blob(NAME, blob.digest), blob)
    for path in daemon.partials():
        # One whose location nobody was told.
        name = path.rpartition("/")[2].partition("@")[0]
        assert pusher.ask("DELETE", pusher.uploads + name).status == 204


def check_survived(daemon, writer):
    held = writer.held
    crash.check_nothing_half_made(daemon, [])
    daemon.start()
    settle(daemon)
    found = seen(daemon, held)
    assert found in (writer.state, writer.maybe), \
        f"{found}\nis neither {writer.state}\nnor {writer.maybe}"
    check_sessions(daemon, writer)
    # All of it once more, on what was left; and it is kept.
    again = Writer(daemon, held)
    again.pusher = Pusher(daemon)
    again.push_all()
    check_whole(daemon, held, again.state)


def check_whole(daemon, held, state):
    """There, sound, and the same from an index that is made anew."""
    assert seen(daemon, held) == state
    client.close_all()
    assert daemon.stop() == 0, daemon.tail()
    daemon.check_leftovers()
    shutil.rmtree(daemon.data / "index")
    done = daemon.command("rebuild")
    assert done.returncode == 0, done.stdout + done.stderr
    daemon.check_leftovers()
    daemon.start()
    assert seen(daemon, held) == state


# ---- how each point is reached ----

def work(kill, daemon, writer):
    die(daemon, kill.fault, writer.work)


def push_many_mib(kill, daemon, writer):
    """A blob that is synced on its way."""
    blob = content.make_blob(66 * MIB, "many")
    writer.held.blobs.append(blob)

    def act():
        writer.pusher = Pusher(daemon)
        try:
            writer.upload(blob, "stream")
        except (client.Closed, ConnectionError):
            pass
    die(daemon, kill.fault, act)


def no_space(kill, daemon, writer):
    """The commit of a tag that moves fails; it is cut off the journal."""
    daemon.start()
    writer.pusher = Pusher(daemon)
    writer.push_all()
    client.close_all()
    assert daemon.stop() == 0

    def act():
        writer.pusher = Pusher(daemon)
        try:
            for image in [writer.held.second, writer.held.first] * 50:
                writer.tag(image, "moving")
        except (client.Closed, ConnectionError):
            pass
    at = kill.dice.randint(20, 80)
    die(daemon, f"index_commit:{at}:enospc,{kill.fault}", act)


def collect(kill, daemon, writer):
    """What is deleted goes from the disk behind everybody's back."""
    daemon.start()
    writer.work()
    writer.delete_all()
    client.close_all()
    assert daemon.stop() == 0
    daemon.config.options({"collect.grace": "0s", "collect.interval": "1ms"})
    die(daemon, kill.fault, lambda: None)
    daemon.config.options({"collect.grace": "1h"})


def start_up(kill, daemon, writer):
    """Start-up meets an upload that was linked, with or without a record."""
    first = "publish_unlink" if kill.point == "recover_unlink" else \
        kill.dice.choice(["publish_dir_sync", "publish_commit"])
    die(daemon, f"{first}:{kill.dice.randint(1, 3)}", writer.work)
    die(daemon, kill.fault)


def snapshot(kill, daemon, writer):
    """A journal that has grown long is replaced."""
    shutil.copytree(long_journal(daemon), daemon.data, dirs_exist_ok=True)
    daemon.config.options({"collect.interval": "1ms"})
    die(daemon, kill.fault, lambda: None)


def long_journal(daemon):
    """
    A data folder whose journal is worth a snapshot: 16 MiB of tags that move
    to and fro.  Made once.
    """
    folder = daemon.folder.parents[1] / "long"
    if not (folder / "done").exists():
        other = Daemon(folder, Config(folder / "data").options(OPTIONS))
        pusher = Pusher(other.start(), LONG)
        while sum(path.stat().st_size for path in
                  (other.data / "journal").iterdir()) <= 16 * MIB:
            for image in long_images():
                answer = pusher.put_manifest(image, tags=LONG_TAGS)
                assert answer.status == 201, answer
        other.finish()
        (folder / "done").touch()
    return folder / "data"


def long_images():
    return [content.make_index([], annotations={"n": n}) for n in "12"]


def check_long(daemon):
    answer = daemon.get(f"/v2/{LONG}/tags/list")
    assert answer.json()["tags"] == LONG_TAGS
    for tag in LONG_TAGS:
        client.check_manifest(daemon.manifest(LONG, tag), long_images()[-1])


class Kill:
    def __init__(self, point, passage, *again):
        self.point = point
        self.fault = f"{point}:{passage}"
        self.dice = dice(point, passage, *again)


# point: (how it is reached, how often that surely passes it)
POINTS = {
    "upload_create": (work, 8),
    "upload_row": (work, 8),
    "upload_write": (work, 20),
    "upload_put": (work, 2),
    "upload_rename": (work, 8),
    "upload_cut": (work, 1),
    "upload_unlink": (work, 1),
    "upload_row_drop": (work, 1),
    "upload_sync": (push_many_mib, 1),
    "upload_mark": (push_many_mib, 1),
    "publish_sync": (work, 7),
    "publish_staged_dir": (work, 7),
    "publish_link": (work, 10),
    "publish_dir_sync": (work, 10),
    "publish_commit": (work, 7),
    "publish_unlink": (work, 7),
    "small_write": (work, 4),
    "small_sync": (work, 4),
    "small_unlink": (work, 4),
    "journal_create": (work, 1),
    "journal_write": (work, 40),
    "journal_sync": (work, 40),
    "index_commit": (work, 60),
    "index_committed": (work, 60),
    "journal_cut": (no_space, 1),
    "drop_unlink": (collect, 4),
    "drop_sync": (collect, 4),
    "drop_row": (collect, 4),
    "recover_read": (start_up, 1),
    "recover_unlink": (start_up, 1),
    "snapshot_write": (snapshot, 2),
    "snapshot_sync": (snapshot, 1),
    "snapshot_name": (snapshot, 1),
    "snapshot_clean": (snapshot, 1),
}


def kills():
    """(point, passage, round): the first, the last, then any."""
    found = []
    for i in range(max(KILLS, len(POINTS))):
        again, at = divmod(i, len(POINTS))
        point = list(POINTS)[at]
        most = POINTS[point][1]
        passage = (1, most)[again] if again < 2 else \
            dice(point, again).randint(1, most)
        found.append((point, passage, again))
    return found


@pytest.mark.parametrize("point,passage,again", kills())
def test_killed_there_it_keeps_what_it_has_said(new_entrepot, point, passage,
                                                again):
    print(f"ENTREPOT_SEED={crash.SEED}")
    daemon = new_entrepot(None, OPTIONS, start=False)
    writer = Writer(daemon, Content())
    POINTS[point][0](Kill(point, passage, again), daemon, writer)
    check_survived(daemon, writer)
    if POINTS[point][0] is snapshot:
        check_long(daemon)


def pushed(new_entrepot):
    """A daemon that is stopped, what it was pushed, and what it showed."""
    daemon = new_entrepot(None, OPTIONS)
    writer = Writer(daemon, Content())
    writer.pusher = Pusher(daemon)
    writer.push_all()
    client.close_all()
    assert daemon.stop() == 0
    return daemon, writer


def test_each_of_index_and_journal_comes_from_the_other(new_entrepot):
    daemon, writer = pushed(new_entrepot)
    shutil.rmtree(daemon.data / "journal")
    done = daemon.command("serve")
    assert done.returncode == 1 and "'entrepot rebuild journal'" in done.stderr
    assert daemon.command("rebuild", "everything").returncode == 2
    assert daemon.command("rebuild", "--rehash", "journal").returncode == 2
    done = daemon.command("rebuild", "journal")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n") == 1  # and no finding
    shutil.rmtree(daemon.data / "index")
    done = daemon.command("rebuild", "journal")
    assert done.returncode == 1 and "there is no index" in done.stderr
    assert daemon.command("rebuild", "--rehash").returncode == 0
    daemon.start()
    check_whole(daemon, writer.held, writer.state)


@pytest.mark.skipif(os.getuid() != 0, reason="files of another user")
def test_what_root_rebuilds_or_checks_is_its_owners(new_entrepot):
    """Or the daemon could not open it."""
    daemon, _ = pushed(new_entrepot)
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        data = shutil.copytree(daemon.data, folder / "data")
        for path in [data, *data.rglob("*")]:
            os.chown(path, 65534, 65534)
        (data / "index" / "lock.mdb").unlink()
        for what in ["check"], ["rebuild"], ["rebuild", "journal"]:
            # Nobody may trace what has changed its user: no leaks are sought.
            subprocess.run([BINARY, *what, "--data", data],
                           env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
                           check=True, timeout=20 * client.SLOW)
        assert {path.stat().st_uid for path in data.rglob("*")} == {65534}
    finally:
        shutil.rmtree(folder)


def test_every_fault_point_is_killed_at():
    """The list in cache/fault.h, and those here and in test_crash.py."""
    import test_crash
    header = (ROOT / "cache" / "fault.h").read_text()
    names = re.findall(r"^\tX\((\w+)\)", header, re.M)
    assert sorted(names) == sorted({*POINTS, *test_crash.POINTS})
