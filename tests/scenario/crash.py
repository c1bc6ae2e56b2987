# SPDX-License-Identifier: Apache-2.0
"""
For tests of crashes: a daemon that dies or fails at a fault point
(cache/fault.h), and what its data folder may and must hold afterwards.
"""

import contextlib
import hashlib
import os
import random
import re
import signal
import struct
import subprocess
import time

import client
import content
from client import SLOW
from content import MIB
from daemon import CHECKER, wait_until

NAME = "library/a"
SEED = os.environ.get("ENTREPOT_SEED") or str(time.time_ns() % 10**9)
SLOT = 192 * 1024


def dice(*key):
    """A source of numbers that ENTREPOT_SEED and `key` determine."""
    return random.Random("/".join(map(str, (SEED, *key))))


# ---- what is pulled ----

class World:
    """
    An image under NAME:1 that takes every step of the disk more than once: an
    index and a manifest too large for the index, three blobs, one of which
    takes several maps.
    """

    def __init__(self, up, seed="crash", large=3 * MIB + 500_000):
        self.up = up
        self.lies = False  # the upstream sends wrong bytes
        image = content.make_image([large, 300_000], seed, pad=100_000)
        self.index = content.make_index(
            [image], annotations={"pad": "x" * 80_000})
        up.put_image(NAME, "1", self.index)
        self.image = image
        self.blobs = image.blobs
        self.large, self.small = image.layers
        self.manifests = [self.index, image]

    @property
    def contents(self):
        return self.blobs + self.manifests

    def pull(self, daemon):
        """The whole, as Docker does; raises where anything is not right."""
        client.Docker(daemon.address).pull(NAME, "1", self.index)

    def try_pull(self, daemon):
        """
        The same of a daemon that may die or fail meanwhile: whatever comes is
        right, or is cut, or is an error that says what is the matter.
        """
        try:
            self._try_manifests(daemon)
            for blob in self.blobs:
                self.try_blob(daemon, blob)
        except (client.Closed, ConnectionError):
            pass

    def _try_manifests(self, daemon):
        for image, reference in ((self.index, "1"),
                                 (self.image, self.image.digest)):
            answer = daemon.manifest(NAME, reference)
            if answer.status == 200:
                client.check_manifest(answer, image)
            else:
                check_error(answer)

    def try_blob(self, daemon, blob):
        try:
            answer = daemon.blob(NAME, blob.digest)
        except client.Closed as error:
            assert self.lies or blob.data.startswith(error.data)
            return False
        if answer.status == 200:
            client.check_blob(answer, blob)
        else:
            check_error(answer)
        return answer.status == 200


def check_error(answer):
    """An error that a person can do something with."""
    assert answer.status in (500, 502, 503, 504, 507), answer
    assert len(answer.message) > 10, answer


# ---- the end ----

def arm(daemon, fault):
    """What the next start is to meet; None: nothing."""
    daemon.env.pop("ENTREPOT_FAULT", None)
    if fault:
        daemon.env["ENTREPOT_FAULT"] = fault


def die(daemon, fault, act=None):
    """
    Start, act(), and see it killed: at that point, at that passage, by
    nothing else.  `fault` may have others, complete, ahead of it.
    """
    arm(daemon, f"{fault}:kill")
    daemon.start(wait=act is not None)
    if act:
        act()
    try:
        status = daemon.process.wait(10 * SLOW)
    except subprocess.TimeoutExpired:
        status = "no end"
    fault = fault.split(",")[-1]
    said = f"fault: {fault}:kill"
    assert said in daemon.log(), f"{fault} was never passed"
    assert status == -signal.SIGKILL, f"{fault}: {status}"
    arm(daemon, None)


# ---- the data folder ----

def staged_of(daemon):
    folder = daemon.data / "partial"
    return sorted(p for p in folder.rglob("*@*") if p.is_file())


def is_map(path):
    return path.name.endswith(".map")


def map_of(path):
    return path.with_name(path.name + ".map")


def partial_of(daemon, blob):
    """The staged file of a blob, or None."""
    hexed = blob.digest.partition(":")[2]
    found = [p for p in staged_of(daemon)
             if p.name.startswith(hexed) and not is_map(p)]
    return found[0] if found else None


def is_leftover(path):
    """Is this staged name start-up's to remove or to publish?"""
    try:
        if is_map(path):
            return not path.with_name(path.name[:-4]).exists()
        return path.name.endswith("@") or path.stat().st_nlink > 1
    except FileNotFoundError:
        return False


def settle(daemon, timeout=10):
    """Until start-up has done what it found to do."""
    def left():
        return [p.name for p in staged_of(daemon) if is_leftover(p)]
    wait_until(lambda: not left(), timeout,
               lambda: f"start-up leaves {left()}:\n{daemon.tail()}")


def _extents(data, at):
    count, = struct.unpack_from(">I", data, at)
    at += 4
    found = [struct.unpack_from(">QQ", data, at + 16 * i)
             for i in range(count)]
    return found, at + 16 * count


def _crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def _slot(data):
    """A slot of a map: (sequence, written, synced); None if it is torn."""
    if len(data) < 72:
        return None
    crc, length = struct.unpack_from(">II", data, 4)
    if not 72 < length <= len(data) or _crc32c(data[8:length]) != crc:
        return None
    sequence, = struct.unpack_from(">Q", data, 16)
    written, end = _extents(data, 72)
    return sequence, written, _extents(data, end)[0]


def read_map(path):
    """
    (written, synced) of a map file: the better of its two slots.  One that is
    being written is read again; one that stays torn does not count.
    """
    for _ in range(10):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        slots = [_slot(data[at:at + SLOT]) for at in (0, SLOT)
                 if data[at:at + 4] == b"EPM1"]
        if None not in slots:
            break
        time.sleep(0.001)
    return max([(-1, [], []), *filter(None, slots)])[1:]


def total(extents):
    return sum(end - start for start, end in extents)


def missing_of(daemon, blob):
    """How much of a blob its upstream is to be asked for after a restart."""
    if daemon.stored(blob.digest):
        return 0
    path = partial_of(daemon, blob)
    return blob.size - (total(read_map(map_of(path))[0]) if path else 0)


def check_nothing_half_made(daemon, contents):
    """What has a blob's name is that blob, whole; what a map vouches for is
    there.  The daemon may take names away meanwhile."""
    for path in (daemon.data / "blobs").rglob("*"):
        if path.is_file():
            with contextlib.suppress(FileNotFoundError):
                _check_published(daemon, path)
    for one in contents:
        path = partial_of(daemon, one)
        if path:
            with contextlib.suppress(FileNotFoundError):
                _check_partial(path, one)


def _check_published(daemon, path):
    alg = path.relative_to(daemon.data).parts[1]
    found = hashlib.new(alg, path.read_bytes()).hexdigest()
    assert found == path.name, f"{path} has other bytes"


def _check_partial(path, one):
    with open(path, "rb") as file:
        for start, end in read_map(map_of(path))[0]:
            file.seek(start)
            assert file.read(end - start) == one.data[start:end], \
                f"{path} from {start} to {end}"


def check_recovered(daemon, may_lack=None):
    """
    What start-up alone has made of it is sound; it runs again afterwards.
    `may_lack` is a pattern of findings that the test itself has caused.
    """
    settle(daemon)
    assert daemon.stop() == 0, daemon.tail()
    if CHECKER:
        done = subprocess.run([CHECKER, str(daemon.data)], text=True,
                              capture_output=True, check=False)
        found = [line for line in done.stdout.splitlines()[:-1]
                 if not (may_lack and re.search(may_lack, line))]
        assert not found and not done.stderr, f"{found} {done.stderr}"
    daemon.start()


def wait_kept(daemon, contents, timeout=10):
    """Until all of these are published, and nothing staged is left."""
    def kept(one):
        path = daemon.stored(one.digest)
        try:
            return path and path.read_bytes() == one.data
        except FileNotFoundError:
            return False
    for one in contents:
        wait_until(lambda one=one: kept(one), timeout,
                   lambda: f"{one.digest} is not kept:\n{daemon.tail()}")
    wait_until(lambda: not daemon.partials(), timeout,
               lambda: f"stray files: {daemon.partials()}\n{daemon.tail()}")


def check_kept(daemon, world):
    """Everything, from the disk alone; then a clean end and a sound store."""
    world.pull(daemon)
    wait_kept(daemon, world.contents)
    world.up.close()
    world.pull(daemon)
    world.up.open()
    client.close_all()
    assert daemon.stop() == 0, daemon.tail()
    daemon.check_leftovers()
