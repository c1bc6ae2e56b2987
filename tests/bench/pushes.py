# SPDX-License-Identifier: Apache-2.0
"""
The registry's rows: pushes beside docker-registry, which has a folder of its
own on the same disk and syncs what it stores, as ours does; and lists.
"""

import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import time

import servers
from servers import load, push, push_start

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

median = statistics.median


class Cargo:
    """
    The file that pushes read: one random body that all large blobs begin
    with, and the few bytes in which they differ; small ones are of their own.
    """

    def __init__(self, path, size):
        self.path, self.count, self.hashes = path, 0, {}
        self.seed = random.Random(str(path))
        with open(path, "wb") as f:
            for _ in range(0, size, 16 * MIB):
                f.write(self.seed.randbytes(16 * MIB))
        self.end = size

    def add(self, data):
        """-> its offset"""
        offset = self.end
        with open(self.path, "r+b") as f:
            f.seek(offset)
            f.write(data)
        self.end += len(data)
        return offset

    def _hash(self, size):
        if size not in self.hashes:
            found, left = hashlib.sha256(), size
            with open(self.path, "rb") as f:
                while left:
                    data = f.read(min(left, MIB))
                    found.update(data)
                    left -= len(data)
            self.hashes[size] = found
        return self.hashes[size].copy()

    def blob(self, repo, size):
        """A large blob that nobody has seen: the lines that push it."""
        tail = self.seed.randbytes(32)
        found = self._hash(size - len(tail))
        found.update(tail)
        return (f"image\nblob {repo} sha256:{found.hexdigest()} "
                f"0 {size - len(tail)} {self.add(tail)} {len(tail)}\n")

    def images(self, repos, count, layer=4 * KIB):
        """`count` images of a config and one layer; the lines."""
        data, lines, base = bytearray(), [], self.end
        for i in range(count):
            repo, self.count = f"{repos}{i % 100}", self.count + 1
            config = json.dumps({"architecture": "amd64", "os": "linux",
                                 "made": self.count}).encode()
            parts = (config, self.seed.randbytes(layer))
            manifest = manifest_of(*parts)
            lines.append("image")
            for part in parts:
                lines.append(f"blob {repo} {digest(part)} "
                             f"{base + len(data)} {len(part)}")
                data += part
            lines.append(f"manifest {repo} v{i} {base + len(data)} "
                         f"{len(manifest)}")
            data += manifest
        self.add(bytes(data))
        return "\n".join(lines) + "\n"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def manifest_of(config, layer):
    def descriptor(kind, data):
        return {"mediaType": "application/vnd.oci.image." + kind,
                "digest": digest(data), "size": len(data)}
    return json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar", layer)]}).encode()


class Pushes:
    """Rows of the bench; a part of class Bench."""

    def _cargo(self, size=GIB):
        if not hasattr(self, "cargo"):
            self.cargo = Cargo(self.shared / "cargo", size)
            os.sync()
        return self.cargo

    def _pair(self, name):
        """Ours, and the peer."""
        return (self.daemon("ours-" + name, None),
                servers.docker_registry(self.folder / ("peer-" + name)))

    def _compare(self, name, what, bound, lines, **options):
        """`lines()` pushed to both in turn; -> the private memory of ours."""
        cargo = self._cargo()
        ours, peer = self._pair(name)
        taken, used = {"ours": [], "peer": []}, []
        try:
            for _ in range(self.rounds):
                for who, port in self.shuffled((("ours", ours.port),
                                                ("peer", peer.port))):
                    text = lines(cargo)
                    os.sync()
                    process = push_start(port, cargo.path, text, **options)
                    if who == "ours":
                        used.append(self.peak_while(ours, [process]))
                    got = servers.pushed(process)
                    taken[who].append(got["seconds"])
                    size = got["bytes"] / MIB
        finally:
            ours.stop()
            peer.stop()
        ratio = median(taken["peer"]) / median(taken["ours"])
        speed = (f"{size / median(taken['ours']):.0f} MiB/s" if size > 100 else
                 f"{median(taken['ours']):.2f} s")
        self.row(what, f"{speed}, {ratio:.2f} x docker-registry",
                 f">= {bound}", ratio >= bound)
        return max(used)

    def push(self):
        """A 1 GiB blob pushed (PATCH, PUT), until it is durable."""
        self._compare("push", "push of a 1 GiB blob", 2.5,
                      lambda cargo: cargo.blob("team/big", GIB))

    def pushes(self):
        """16 blobs of 64 MiB pushed at once."""
        used = self._compare(
            "pushes", "16 pushes of 64 MiB at once", 2.75,
            lambda cargo: "".join(cargo.blob(f"team/p{i}", 64 * MIB)
                                  for i in range(16)), clients=16)
        self.row("private memory meanwhile", f"{used:.1f} MiB", "<= 48 MiB",
                 used <= 48)

    def small(self):
        """1,000 small images pushed by 8 clients."""
        self._compare("small", "push of 1,000 small images, 8 clients", 5,
                      lambda cargo: cargo.images("team/small", 1000),
                      clients=8)

    def _filled(self, count):
        """A daemon with `count` tags, and `count` repositories."""
        ours = self.daemon(f"lists-{count}", None)
        ours.stop()
        for kind in ("tags", "repos"):
            subprocess.run([str(self.index_fill()), str(ours.data),
                            str(count), kind], check=True)
        ours.start()
        return ours

    def lists(self):
        """One page of long lists."""
        few, many = (self._filled(count) for count in (1000, 100000))
        times = {}
        try:
            for _ in range(self.rounds * 3):
                for ours, path in self.shuffled(
                        [(o, p) for o in (few, many) for p in LISTS]):
                    got = load(ours.port, path, requests=500)
                    assert got["requests"] == 500 and not got["failed"], got
                    times.setdefault((ours, path), []).append(
                        got["end_ms"]["p50"])
        finally:
            few.stop()
            many.stop()
        for path, what in LISTS.items():
            took, before = (median(times[o, path]) for o in (many, few))
            self.row(f"{what} of 100,000", f"{took:.2f} ms", "<= 2 ms",
                     took <= 2)
            self.row("  beside 1,000", f"{took / before:.2f} x", "<= 1.5",
                     took / before <= 1.5)

    def push_p99(self):
        """Manifests by tag while 4 pushes run."""
        cargo, worst = self._cargo(), []
        for i in range(self.rounds):
            os.sync()
            ours = self.daemon(f"push-p99-{i}", None)
            try:
                push(ours.port, cargo.path, cargo.images("team/m", 1))
                worst.append(self._p99_beside_pushes(ours, cargo))
            finally:
                ours.stop()
            shutil.rmtree(ours.data)  # 8 GiB
        self.row("p99 of manifests by tag beside 4 pushes",
                 f"{median(worst):.1f} ms", "<= 10 ms", median(worst) <= 10)


    def _p99_beside_pushes(self, ours, cargo):
        text = "".join(cargo.blob(f"team/q{i % 4}", 512 * MIB)
                       for i in range(16))
        pushing = push_start(ours.port, cargo.path, text, clients=4)
        time.sleep(0.2)
        p99 = self.wrk(ours.port, "/v2/team/m0/manifests/v0", connections=4,
                       seconds=2)[1]
        assert pushing.poll() is None, "the pushes ended too early"
        servers.pushed(pushing)
        return p99


# The first page, and one in the middle.
LISTS = {
    "/v2/fill/tags/tags/list?n=100": "tags/list, first 100",
    "/v2/fill/tags/tags/list?n=100&last=t000500": "tags/list, 100 further on",
    "/v2/_catalog?n=100": "_catalog, first 100",
    "/v2/_catalog?n=100&last=fill/r000500": "_catalog, 100 further on",
}
