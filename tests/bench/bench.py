# SPDX-License-Identifier: Apache-2.0
"""
Speed and memory, side by side in one run: medians and ratios, never a timed
test.  Machines are shared and noisy, so subjects take turns in random order
over several rounds, and only ratios within a run mean something.

    make bench                      all rows
    make bench ROWS="blob tag"      some
    make bench ROUNDS=3             fewer rounds

A bound that is missed is named at the end.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import servers
from pushes import Pushes
from servers import load, load_start

from content import OCI_MANIFEST, make_blob, make_image
from daemon import Config, Daemon
from httpd import Pace
from upstream import Upstream

MIB = 1 << 20
BLOB = 256 * MIB
CAP = 100e6  # bytes per second of the upstream, where it is capped

# Where two servers are as fast as each other, the luck of one process (where
# its memory lies, which core it has) is more than what divides them: each
# round has this many new ones.
LIVES = 4

median = statistics.median


class Pairs:
    """Figures of subjects that were measured one right after the other: what
    the machine does meanwhile is in both, and not in their ratio."""

    def __init__(self):
        self.figures = {}

    def add(self, name, figure):
        self.figures.setdefault(name, []).append(figure)

    def median(self, name):
        return median(self.figures[name])

    def _ratios(self, one, other):
        return [a / b for a, b in zip(self.figures[one], self.figures[other],
                                      strict=True)]

    def ratio(self, one, other):
        """The median of the pairs' ratios."""
        return median(self._ratios(one, other))

    def spread(self, one, other):
        """Where the middle half of the pairs' ratios lies."""
        low, _, high = statistics.quantiles(self._ratios(one, other), n=4)
        return f"{low:.2f}-{high:.2f}"


class Bench(Pushes):
    def __init__(self, folder, rounds):
        self.shared = folder  # of all rows
        self.folder = folder  # of one
        self.rounds = rounds
        self.table = []   # (what, figure, bound, met)
        self.context = []

    # ---- reporting ----

    def row(self, what, figure, bound, met):
        self.table.append((what, figure, bound, met))
        mark = {True: "met", False: "MISSED", None: ""}[met]
        print(f"  {what:<58} {figure:<38} {bound:<16} {mark}", flush=True)

    def note(self, text):
        print(f"  {text}", flush=True)

    # ---- subjects ----

    def upstream(self, capped=False):
        up = Upstream(cdn=False)
        if capped:
            up.limit(Pace(CAP))
        return up

    def daemon(self, name, up, loops=1, **options):
        folder = self.folder / name
        config = Config(folder / "data").options({
            "log.level": "info", "access_log": False, "server.loops": loops,
            **options})
        if up:
            config.upstream("docker.io", up, check="10m")
        # A session of its own, as the others have: where the kernel shares
        # cores out by session, one of the client's would be half a share.
        daemon = Daemon(folder, config, wrap=["setsid"])
        daemon.start()
        return daemon

    def index_fill(self):
        return os.environ.get("ENTREPOT_INDEX_FILL", servers.ROOT /
                              "build/release/tools/index_fill")

    def wrk(self, *arguments, **options):
        return wrk(*arguments, **options)

    def shuffled(self, subjects):
        """[(name, thing)] in another order each time."""
        order = list(subjects)
        random.shuffle(order)
        return order

    # ---- rows ----

    def blob(self):
        """A warm 256 MiB blob, one serve loop, beside nginx sendfile."""
        up = self.upstream()
        blob = make_blob(BLOB, "warm")
        up.put_image("library/warm", "1", make_image([blob], "warm"))
        ours = self.daemon("warm", up)
        path = f"/v2/library/warm/blobs/{blob.digest}"
        ours.get("/v2/library/warm/manifests/1")
        load(ours.port, path, requests=1)
        # The same file: how it was written decides how its pages lie.
        file, = [p for p in ours.data.glob("blobs/**/*")
                 if p.is_file() and p.stat().st_size == BLOB]
        rows = ((1, 1.0), (8, 1.0), (64, 0.9))
        pairs = {connections: Pairs() for connections, _ in rows}
        try:
            for i in range(self.rounds * LIVES):
                nginx = servers.nginx(self.folder / f"nginx-blob-{i}",
                                      file.parent)
                try:
                    for connections, _ in self.shuffled(rows):
                        self._blob_pair(pairs[connections], connections,
                                        (ours, path),
                                        (nginx, "/" + file.name))
                finally:
                    nginx.stop()
                ours.stop()
                ours.start()
        finally:
            ours.stop()
            up.stop()
        for connections, bound in rows:
            self._blob_row(pairs[connections], connections, bound)

    def _blob_pair(self, pairs, connections, ours, nginx):
        for name, (server, path) in self.shuffled((("ours", ours),
                                                   ("nginx", nginx))):
            load(server.port, path, connections=connections, requests=1)
            before = servers.cpu_seconds(server.pid)
            got = load(server.port, path, connections=connections, seconds=1)
            assert not got["failed"], got
            pairs.add(name, got["bytes"] / MIB / got["seconds"])
            pairs.add(f"{name}'s CPU",
                      (servers.cpu_seconds(server.pid) - before) /
                      (got["bytes"] / (1 << 30)))

    def _blob_row(self, pairs, connections, bound):
        ratio = pairs.ratio("ours", "nginx")
        self.row(f"warm 256 MiB blob, {connections} connections",
                 f"{pairs.median('ours'):.0f} MiB/s, {ratio:.2f} x nginx "
                 f"({pairs.spread('ours', 'nginx')})",
                 f">= {bound:.1f}", ratio >= bound)
        spent = pairs.ratio("ours's CPU", "nginx's CPU")
        self.row("  CPU seconds per GiB",
                 f"""{pairs.median("ours's CPU"):.2f}, {spent:.2f} x nginx""",
                 "<= 1.1", spent <= 1.1)

    def manifest(self):
        """A warm manifest by digest and by tag, 64 connections."""
        up = self.upstream()
        image = make_image([make_blob(1000, "m")], "m", pad=1500)
        up.put_image("library/m", "1", image)
        root = self.folder / "www-m"
        root.mkdir()
        (root / "manifest").write_bytes(image.data)
        ours = self.daemon("manifest", up)
        peer = servers.docker_registry(self.folder / "registry-m")
        push_image(peer.port, "m", "1", image)
        ours.get("/v2/library/m/manifests/1")
        pairs = Pairs()
        try:
            for i in range(self.rounds * LIVES // 2):
                nginx = servers.nginx(self.folder / f"nginx-m-{i}", root)
                for name, port, path in self.shuffled((
                        ("digest", ours.port,
                         f"/v2/library/m/manifests/{image.digest}"),
                        ("tag", ours.port, "/v2/library/m/manifests/1"),
                        ("nginx", nginx.port, "/manifest"),
                        ("registry", peer.port,
                         f"/v2/m/manifests/{image.digest}"))):
                    # wrk spends more on a request than what it asks.
                    got = load(port, path, connections=64, seconds=1,
                               header=f"Accept: {OCI_MANIFEST}")
                    assert not got["failed"], got
                    pairs.add(name, got["requests"] / got["seconds"])
                nginx.stop()
                ours.stop()
                ours.start()
        finally:
            for one in (ours, peer, up):
                one.stop()
        rate = pairs.median
        ratio = pairs.ratio("digest", "nginx")
        self.row(f"warm manifest by digest ({len(image.data)} bytes)",
                 f"{rate('digest'):.0f}/s, {ratio:.2f} x nginx "
                 f"({pairs.spread('digest', 'nginx')})", ">= 1.0",
                 ratio >= 1.0)
        ratio = pairs.ratio("digest", "registry")
        self.row("  beside docker-registry",
                 f"{rate('registry'):.0f}/s, {ratio:.0f} x", ">= 20",
                 ratio >= 20)
        ratio = pairs.ratio("tag", "digest")
        self.row("warm manifest by tag, within its check period",
                 f"{rate('tag'):.0f}/s, {ratio:.2f} x by digest "
                 f"({pairs.spread('tag', 'digest')})", ">= 0.9",
                 ratio >= 0.9)

    def p99(self):
        """Small requests while 8 connections download on the same loop."""
        up = self.upstream()
        blobs = [make_blob(BLOB, f"p99-{i}") for i in range(8)]
        image = make_image([make_blob(1000, "small"), *blobs], "p99")
        up.put_image("library/p", "1", image)
        ours = self.daemon("p99", up)
        ours.get("/v2/library/p/manifests/1")
        paths = [f"/v2/library/p/blobs/{b.digest}" for b in blobs]
        small = f"/v2/library/p/manifests/{image.digest}"
        for path in paths:
            load(ours.port, path, requests=1)
        files = [p for p in ours.data.glob("blobs/**/*") if p.is_file() and
                 p.stat().st_size == BLOB]
        try:
            for cold, bound in ((False, 5), (True, 10)):
                worst = []
                for _ in range(self.rounds):
                    if cold:
                        drop_from_cache(files)
                    # One client: eight would queue for the same cores.
                    downloads = load_start(ours.port, *paths, seconds=2.5,
                                           connections=len(paths))
                    time.sleep(0.2)
                    worst.append(wrk(ours.port, small, connections=4,
                                     seconds=2)[1])
                    downloads.communicate()
                what = ", dropped from the page cache first" if cold else ""
                self.row("p99 of small requests beside 8 downloads" + what,
                         f"{median(worst):.1f} ms", f"<= {bound} ms",
                         median(worst) <= bound)
        finally:
            ours.stop()
            up.stop()

    def cold(self):
        """A cold blob from an upstream capped at 100 MB/s."""
        up = self.upstream(capped=True)
        direct, one, sixteen, first, first_direct = [], [], [], [], []
        ours = self.daemon("cold", up)
        try:
            for i in range(self.rounds):
                self._cold_round(up, ours, i, direct, one, sixteen)
            for i in range(self.rounds * 5):
                self._first_byte(up, ours, i, first, first_direct)
        finally:
            ours.stop()
            up.stop()
        ratio = median(one) / median(direct)
        self.row("cold 256 MiB at 100 MB/s, 1 client",
                 f"{median(one):.2f} s, {ratio:.3f} x direct", "<= 1.05",
                 ratio <= 1.05)
        ratio = median(sixteen) / median(one)
        self.row("  16 clients at once",
                 f"{median(sixteen):.2f} s, {ratio:.3f} x one", "<= 1.10",
                 ratio <= 1.10)
        added = median(first) - median(first_direct)
        self.row("time to first byte of a cold blob, over direct",
                 f"{median(first):.2f} ms, {added:+.2f} ms", "<= 5 ms",
                 added <= 5)

    def _publish(self, up, ours, name, *blobs):
        up.put_image(f"library/{name}", "1", make_image(blobs, name))
        ours.get(f"/v2/library/{name}/manifests/1")
        return [f"/v2/library/{name}/blobs/{b.digest}" for b in blobs]

    def _cold_round(self, up, ours, i, direct, one, sixteen):
        blobs = [make_blob(BLOB, f"cold-{i}-{k}") for k in range(3)]
        paths = self._publish(up, ours, f"cold{i}", *blobs)
        os.sync()
        for name in self.shuffled(("direct", "one", "sixteen")):
            if name == "direct":
                got = load(up.registry.port, paths[0], requests=1)
                direct.append(got["seconds"])
            elif name == "one":
                got = load(ours.port, paths[1], requests=1)
                one.append(got["seconds"])
            else:
                got = load(ours.port, paths[2], connections=16, requests=1)
                sixteen.append(got["seconds"])
            assert not got["failed"], got
            os.sync()

    def _first_byte(self, up, ours, i, first, first_direct):
        blobs = [make_blob(2 * MIB, f"first-{i}-{k}") for k in range(2)]
        paths = self._publish(up, ours, f"first{i}", *blobs)
        for name in self.shuffled(("direct", "ours")):
            port = ours.port if name == "ours" else up.registry.port
            got = load(port, paths[name == "ours"], requests=1)
            (first if name == "ours" else first_direct).append(
                got["first_ms"]["p50"])

    def once(self):
        """Upstream bytes / blob size."""
        up = self.upstream(capped=True)
        ours = self.daemon("once", up)
        ours.may_leave_partials = True
        try:
            self._once_32(up, ours)
            self._once_returning(up, ours)
            self._once_killed(up, ours)
        finally:
            ours.stop()
            up.stop()

    def _ratio_row(self, what, up, blob, bound):
        ratio = up.bytes_sent(blob.digest) / blob.size
        self.row(what, f"{ratio:.4f}", f"<= {bound:.2f}",
                 ratio <= bound + 0.00005)

    def _once_32(self, up, ours):
        blob = make_blob(BLOB, "once-32")
        path, = self._publish(up, ours, "once32", blob)
        got = load(ours.port, path, connections=32, requests=1)
        assert got["requests"] == 32 and not got["failed"], got
        self._ratio_row("upstream bytes / size, 32 clients at once", up, blob,
                        1.0)

    def _once_returning(self, up, ours):
        blob = make_blob(BLOB, "once-back")
        path, = self._publish(up, ours, "onceback", blob)
        load(ours.port, path, connections=32, requests=1,
             stop_after=BLOB // 2)
        got = load(ours.port, path, connections=32, requests=1)
        assert got["requests"] == 32 and not got["failed"], got
        self._ratio_row("  all leave half way and come back", up, blob, 1.0)

    def _once_killed(self, up, ours):
        blob = make_blob(BLOB, "once-killed")
        path, = self._publish(up, ours, "oncekilled", blob)
        load(ours.port, path, requests=1, stop_after=BLOB // 2)
        ours.restart(kill=True)
        got = load(ours.port, path, requests=1)
        assert got["requests"] == 1 and not got["failed"], got
        self._ratio_row("  killed half way and started again", up, blob, 1.02)

    def memory(self):
        """RssAnon + RssShmem, in MiB."""
        up = self.upstream()
        warm = make_blob(BLOB, "memory")
        ours = self.daemon("memory", up, loops=2)
        path, = self._publish(up, ours, "memory", warm)
        load(ours.port, path, requests=1)
        ours.restart()
        try:
            time.sleep(0.5)
            self._memory_row("idle", ours, 8)
            idle = servers.idle_connections(ours.port, 1000)
            time.sleep(0.5)
            self._memory_row("1,000 idle connections", ours, 16)
            idle.communicate()
            self._memory_while("64 downloading", ours, 16, path,
                               connections=64, seconds=4)
            self._memory_while("200 slow readers", ours, 24, path,
                               connections=200, seconds=4, rate=100000)
            self._memory_fills(up, ours)
        finally:
            ours.stop()
            up.stop()

    def _memory_row(self, what, ours, bound, used=None):
        used = servers.private_mib(ours.pid) if used is None else used
        self.row(f"private memory, {what}", f"{used:.1f} MiB",
                 f"<= {bound} MiB", used <= bound)

    def peak_while(self, ours, processes):
        peak = 0
        while any(p.poll() is None for p in processes):
            peak = max(peak, servers.private_mib(ours.pid))
            time.sleep(0.05)
        return peak

    def _peak(self, ours, processes):
        peak = self.peak_while(ours, processes)
        for process in processes:
            process.communicate()
        return peak

    def _memory_while(self, what, ours, bound, path, **options):
        process = load_start(ours.port, path, **options)
        self._memory_row(what, ours, bound, self._peak(ours, [process]))

    def _memory_fills(self, up, ours):
        blobs = [make_blob(64 * MIB, f"fill-{i}") for i in range(16)]
        paths = self._publish(up, ours, "fills", *blobs)
        processes = [load_start(ours.port, p, requests=1) for p in paths]
        self._memory_row("16 cold fills", ours, 56,
                         self._peak(ours, processes))

    def startup(self):
        """To the first answer, with an index of a million blobs."""
        up = self.upstream()
        ours = self.daemon("startup", up)
        ours.stop()
        self.note("making an index of 1,000,000 blobs ...")
        subprocess.run([str(self.index_fill()), str(ours.data), "1000000"],
                       check=True)
        taken = []
        ours.start()  # a port for good
        ours.stop()
        for _ in range(self.rounds):
            begun = time.monotonic()
            ours.start(wait=False)
            while True:
                try:
                    assert ours.get("/v2/").status == 200
                    break
                except ConnectionRefusedError:
                    time.sleep(0.0005)
            taken.append((time.monotonic() - begun) * 1000)
            ours.stop()
        up.stop()
        self.row("start-up to the first answer, 1,000,000 blobs",
                 f"{median(taken):.0f} ms", "<= 100 ms", median(taken) <= 100)


ROWS = ("blob", "manifest", "p99", "cold", "once", "memory", "startup",
        "push", "pushes", "small", "lists", "push_p99")


def wrk(port, path, connections=64, seconds=2):
    """(requests per second, p99 in ms)"""
    text = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
         "-H", "Accept: application/vnd.oci.image.manifest.v1+json",
         f"http://127.0.0.1:{port}{path}"],
        capture_output=True, text=True, check=True).stdout
    rate = p99 = None
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Requests/sec:"]:
            rate = float(words[1])
        elif words[:1] == ["99%"]:
            p99 = in_ms(words[1])
        assert words[:1] != ["Non-2xx"], text
    return rate, p99


def in_ms(text):
    for unit, factor in (("us", 1e-3), ("ms", 1), ("s", 1e3)):
        if text.endswith(unit):
            return float(text[:-len(unit)]) * factor
    raise ValueError(text)


def drop_from_cache(files):
    os.sync()
    for path in files:
        with open(path, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def push_image(port, name, tag, image):
    """Into the peer, over HTTP."""
    import http.client
    for blob in image.blobs:
        c = http.client.HTTPConnection("127.0.0.1", port)
        c.request("POST", f"/v2/{name}/blobs/uploads/")
        r = c.getresponse()
        r.read()
        where = r.headers["Location"]
        where += ("&" if "?" in where else "?") + f"digest={blob.digest}"
        c = http.client.HTTPConnection("127.0.0.1", port)
        c.request("PUT", where, body=blob.data)
        assert c.getresponse().status == 201
    c = http.client.HTTPConnection("127.0.0.1", port)
    c.request("PUT", f"/v2/{name}/manifests/{tag}", body=image.data,
              headers={"Content-Type": image.media_type})
    r = c.getresponse()
    assert r.status == 201, (r.status, r.read())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", default=ROWS,
                        help=" ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to work; default: a temporary "
                        "one below build/")
    args = parser.parse_args()
    base = servers.ROOT / "build"
    folder = Path(args.folder or tempfile.mkdtemp(prefix="bench-", dir=base))
    bench = Bench(folder, args.rounds)
    begun = time.monotonic()
    try:
        servers.build_clients(folder)
        for name in args.rows:
            row = getattr(bench, name)
            print(f"\n{row.__doc__}", flush=True)
            bench.folder = folder / f"row-{name}"
            bench.folder.mkdir()
            row()
            shutil.rmtree(bench.folder)  # the next one needs the room
    finally:
        if not args.folder:
            shutil.rmtree(folder, ignore_errors=True)
    missed = [row for row in bench.table if row[3] is False]
    print(f"\n{len(bench.table)} figures in "
          f"{time.monotonic() - begun:.0f} s, {len(missed)} bounds missed")
    for what, figure, bound, _ in missed:
        print(f"  missed: {what.strip()}: {figure}, bound {bound}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
