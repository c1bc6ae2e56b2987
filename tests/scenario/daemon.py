# SPDX-License-Identifier: Apache-2.0
"""
The daemon under test: its configuration file, its life, and what it must not
leave behind.  Every option name the tests use is written here or passed
through here as "key.path", so that a renamed option is one edit.
"""

import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import client
from client import SLOW

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("ENTREPOT_BIN", ROOT / "build" / "entrepot"))
CHECKER = os.environ.get("ENTREPOT_STORE_CHECK")

COMPLAINTS = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer"
    r"|runtime error:|[Aa]ssertion .*failed|assert(ion)? failed|BUG:"
    r"|stack smashing|buffer overflow detected|free\(\): |malloc\(\): "
    r"|double free|Resource deadlock|mdb_.*assert")

# A push that somebody has begun is no debris: it waits for him.
SESSION = re.compile(r"uploads/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(@put)?$")

SANITIZERS = {
    "ASAN_OPTIONS": "exitcode=99:detect_leaks=1:abort_on_error=0"
                    ":detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=98",
    "TSAN_OPTIONS": "exitcode=97:halt_on_error=0:second_deadlock_stack=1",
}


class Config:
    """
    The configuration file as a tree.  options() takes "key.path" names;
    upstream() one entry of "upstreams".  What it begins with suits tests:
    a port of the kernel's choice, periods and pauses that do not make one
    wait, credentials from nowhere but the test.
    """

    def __init__(self, data):
        self.tree = {}
        self.options({
            "listen": ["127.0.0.1:0"],
            "data": str(data),
            "log.level": "debug",
            "cache.min_free": 0,
            "server.loops": 2,
            "upstreams": {},
        })

    def options(self, values):
        for path, value in values.items():
            node = self.tree
            *parents, last = path.split(".")
            for key in parents:
                node = node.setdefault(key, {})
            node[last] = value
        return self

    def upstream(self, name, endpoints=None, **values):
        """Options of one upstream; what was said before stays."""
        entry = self.tree["upstreams"].setdefault(name, {
            "credentials": "none",
            "retry_min": "20ms",
            "retry_max": "100ms",
            "first_byte": seconds(5),
            "connect": seconds(3),
            "stall": seconds(5),
            "breaker_hold": "100ms",
        })
        if endpoints is not None:
            entry["endpoints"] = [getattr(e, "url", e) for e in
                                  (endpoints if isinstance(endpoints, list)
                                   else [endpoints])]
        if {"username", "docker_config", "credential_helper"} & set(values):
            entry.pop("credentials", None)
        entry.update(values)
        return self

    def text(self):
        return json.dumps(self.tree, indent=2)


def seconds(value):
    """A duration for the file that follows ENTREPOT_SLOW."""
    return f"{int(value * SLOW * 1000)}ms"


class Daemon:
    """One daemon in `folder`, started and stopped any number of times."""

    def __init__(self, folder, config=None, wrap=()):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.config = config or Config(self.data)
        self.config_file = self.folder / "entrepot.json"
        self.log_file = self.folder / "log"
        self.wrap = list(wrap)
        self.env = {}
        self.process = None
        self.pid = None
        self.ports = []
        self.metrics_ports = []
        self.may_leave_partials = False
        self.may_complain = False
        self.exit_status = None
        self._listener = None
        self._log_start = 0

    # ---- life ----

    def start(self, arguments=(), listen_fds=(), wait=True):
        """Start, and wait until it listens.  A restart keeps the ports."""
        assert BINARY.exists(), f"{BINARY} is not there: build it first"
        if self.ports and not listen_fds:
            listen = self.config.tree["listen"]
            self.config.tree["listen"] = [
                _with_port(one, port) for one, port in zip(listen, self.ports)]
        self.write_config()
        command = [*self.wrap, str(BINARY), "serve", "--config",
                   str(self.config_file), *arguments]
        if listen_fds:
            command = [sys.executable, "-c", _INHERIT,
                       ",".join(str(s.fileno()) for s in listen_fds), *command]
        with open(self.log_file, "ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._environment(), cwd=self.folder,
                pass_fds=[s.fileno() for s in listen_fds])
        self.exit_status = None
        self.pid = self.process.pid
        if wait:
            self.wait_ready(given=listen_fds)
        return self

    def _environment(self):
        env = {k: v for k, v in os.environ.items()
               if not k.lower().endswith("_proxy") and
               not k.startswith(("LISTEN_", "NOTIFY_"))}
        env["HOME"] = str(self.folder)
        for name, value in SANITIZERS.items():
            env[name] = ":".join(filter(None, [value, os.environ.get(name)]))
        env.update(self.env)
        return env

    def wait_ready(self, timeout=15, given=()):
        """
        Wait for the log to name each listening socket.  Addresses with port 0
        are told apart by their hosts, which therefore differ in a test.
        """
        listen = self.config.tree["listen"]
        metrics = self.config.tree.get("metrics", {}).get("listen", [])
        expected = len(given) or len(listen) + len(metrics)
        pattern = re.compile(r"listening on (\S+):(\d+)( for metrics)?")
        end = time.monotonic() + timeout * SLOW
        while len(found := pattern.findall(self.log())) < expected:
            status = self.process.poll()
            assert status is None, \
                f"it ended with {status} instead of listening:\n{self.log()}"
            assert time.monotonic() < end, f"not listening:\n{self.log()}"
            time.sleep(0.005)
        ports = {host: int(port) for host, port, other in found if not other}
        self.metrics_ports = [int(port) for _, port, other in found if other]
        self.ports = [s.getsockname()[1] for s in given] or \
            [ports[_address(one).rpartition(":")[0]] for one in listen]

    def write_config(self):
        self.config_file.write_text(self.config.text())

    def stop(self, timeout=20):
        """SIGTERM; the exit status."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def wait_exit(self, timeout=20):
        try:
            self.exit_status = self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(5)
            raise AssertionError(
                f"still there {timeout} s after SIGTERM:\n{self.tail()}"
            ) from None
        return self.exit_status

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def restart(self, kill=False, **more):
        if kill:
            self.kill()
        else:
            assert self.stop() == 0, self.tail()
            self.check_leftovers()
        return self.start(**more)

    def reload(self):
        """Write the configuration and SIGHUP; waits until the log says so."""
        self.write_config()
        before = len(self.log())
        self.process.send_signal(signal.SIGHUP)
        self.wait_log("configuration reloaded", since=before)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    # ---- talking to it ----

    @property
    def port(self):
        return self.ports[0]

    @property
    def address(self):
        return "127.0.0.1", self.port

    def connect(self, **more):
        return client.Connection(self.address, **more)

    def request(self, method, path, headers=None, body=None):
        return client.request(self.address, method, path, headers, body)

    def get(self, path, headers=None):
        return self.request("GET", path, headers)

    def head(self, path, headers=None):
        return self.request("HEAD", path, headers)

    def manifest(self, name, reference, method="GET", headers=None):
        return self.request(method, f"/v2/{name}/manifests/{reference}",
                            headers)

    def blob(self, name, digest, headers=None, method="GET"):
        return self.request(method, f"/v2/{name}/blobs/{digest}", headers)

    def download(self, name, digest, headers=None, rcvbuf=None):
        return client.Download(self.address, f"/v2/{name}/blobs/{digest}",
                               headers, rcvbuf)

    def ask_all(self, path, count):
        """
        That many connections on which it has read a GET that it cannot answer
        yet.  One serve loop reads in the order of arrival, so /healthz, asked
        last, is the sign; the daemon needs server.loops = 1.
        """
        assert self.config.tree["server"]["loops"] == 1
        asked = [self.connect() for _ in range(count)]
        last = self.connect()
        for connection in [*asked, last]:
            assert connection.get("/healthz").status == 200
        for connection in asked:
            connection.send_head("GET", path)
        assert last.get("/healthz").status == 200
        return asked

    def learn(self, name, tag, image):
        """Get the manifests, so that the repository may have the blobs."""
        client.check_manifest(self.manifest(name, tag), image)
        for child in image.children:
            client.check_manifest(self.manifest(name, child.digest), child)

    def command(self, *arguments, timeout=20):
        """Another entrepot command with this configuration."""
        name, *rest = arguments
        return subprocess.run(
            [str(BINARY), name, "--config", str(self.config_file), *rest],
            capture_output=True, text=True, timeout=timeout * SLOW,
            env=self._environment(), cwd=self.folder, check=False)

    # ---- looking at it ----

    def log(self, whole=False):
        """What it has written since it was last started."""
        try:
            data = self.log_file.read_bytes()
        except FileNotFoundError:
            return ""
        return data[0 if whole else self._log_start:].decode(errors="replace")

    def whole_log(self):
        """
        log() with every line that has been logged by now.  They are written
        in their order, by a thread that lets them gather: the access line of
        one more request is behind all of them.
        """
        if self.running:
            mark = f"/healthz?{time.monotonic_ns()}"
            self.get(mark)
            self.wait_log(re.escape(mark))
        return self.log()

    def tail(self, lines=80):
        return "\n".join(self.log(whole=True).splitlines()[-lines:])

    def wait_log(self, pattern, since=0, timeout=5):
        return wait_until(
            lambda: re.search(pattern, self.log()[since:]), timeout,
            lambda: f"no {pattern!r} in the log:\n{self.tail()}")

    def access(self, method=None, path=None):
        """Access lines as dictionaries."""
        found = []
        for line in self.log().splitlines():
            entry = parse_access(line)
            if entry and method in (None, entry["method"]) \
                    and path in (None, entry["path"]):
                found.append(entry)
        return found

    def metrics(self):
        """{name or name{labels}: value} of /metrics."""
        response = self.get("/metrics")
        assert response.status == 200, response
        return parse_metrics(response.body.decode())

    def descriptors(self):
        """{number: what it is} of its open descriptors."""
        found = {}
        folder = Path(f"/proc/{self.pid}/fd")
        for entry in folder.iterdir():
            try:
                found[int(entry.name)] = os.readlink(entry)
            except FileNotFoundError:
                pass
        return found

    def client_sockets(self):
        """Its sockets that are connections of clients."""
        inodes = {m.group(1) for m in
                  (re.fullmatch(r"socket:\[(\d+)\]", d)
                   for d in self.descriptors().values()) if m}
        count = 0
        for table in ("tcp", "tcp6"):
            try:
                text = Path(f"/proc/{self.pid}/net/{table}").read_text()
            except FileNotFoundError:
                continue
            for line in text.splitlines()[1:]:
                fields = line.split()
                port = int(fields[1].rpartition(":")[2], 16)
                if fields[3] != "0A" and port in self.ports and \
                        fields[9] in inodes:
                    count += 1
        return count

    def memory(self):
        """RssAnon + RssShmem in bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * sum(
            int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1))
            for key in ("RssAnon", "RssShmem"))

    def growth(self, run, under):
        """
        What memory() grows by in each of some rounds, run(1), run(2), ...,
        until one is `under` the bound.  What leaks does so in every round;
        what an allocator or a sanitizer takes for itself comes once or twice.
        """
        grown = []
        run(0)
        for n in range(1, 6):
            before = self.memory()
            run(n)
            grown.append(self.memory() - before)
            if grown[-1] < under:
                break
        return grown

    def cpu_seconds(self):
        text = Path(f"/proc/{self.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ---- the store ----

    def stored(self, digest):
        """The file of a blob that has been published, or None."""
        alg, _, hexed = digest.partition(":")
        path = self.data / "blobs" / alg / hexed[:2] / hexed
        return path if path.exists() else None

    def partials(self):
        """Files in partial/, and uploads/."""
        return sorted(str(p.relative_to(self.data))
                      for folder in ("partial", "uploads")
                      for p in (self.data / folder).rglob("*") if p.is_file())

    def wait_stored(self, blob, timeout=5):
        """Until the blob is published, with the right bytes, and its staged
        name is gone."""
        wait_until(lambda: self.stored(blob.digest), timeout,
                   lambda: f"{blob.digest} is not stored:\n{self.tail()}")
        assert self.stored(blob.digest).read_bytes() == blob.data
        hexed = blob.digest.partition(":")[2]
        wait_until(lambda: not any(hexed in p for p in self.partials()),
                   timeout, lambda: f"staged names stay: {self.partials()}")

    def wait_committed(self, timeout=5):
        """Until the index has all that was to be written so far; some of it
        is written behind the answers."""
        wait_until(lambda: not self.metrics()[
            "entrepot_index_operations_waiting"], timeout)

    def wait_idle(self, timeout=5):
        """Until no client is connected and no fill runs."""
        wait_until(lambda: self.client_sockets() == 0, timeout,
                   lambda: f"{self.client_sockets()} client connections stay")

    def rows(self):
        """{table: rows} of the index; once it has stopped."""
        assert not self.running and CHECKER
        done = subprocess.run([CHECKER, "--rows", str(self.data)], text=True,
                              capture_output=True, check=True)
        return {table: int(n) for table, n in
                re.findall(r"^rows (\w+) (\d+)$", done.stdout, re.M)}

    # ---- at the end of a test ----

    def check_leftovers(self):
        """After a stop: nothing staged, and a store that is sound."""
        if not self.may_leave_partials:
            left = [p for p in self.partials() if not SESSION.search(p)]
            assert not left, f"stray files: {left}"
        if CHECKER:
            done = subprocess.run([CHECKER, str(self.data)], text=True,
                                  capture_output=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

    def check_complaints(self):
        if self.may_complain:
            return
        for line in self.log(whole=True).splitlines():
            assert not COMPLAINTS.search(line), \
                f"it complained: {line}\n{self.tail()}"

    def finish(self):
        """What a fixture calls: stop it and judge what it leaves."""
        died = self.process.poll() if self.process else None
        try:
            assert died is None or died >= 0 or died == -signal.SIGKILL, \
                f"it died of {signal.Signals(-died).name}:\n{self.tail()}"
            if self.running:
                client.close_all()
                self.wait_idle()
                if not self.may_leave_partials:
                    wait_until(lambda: not self._staged_descriptors(), 5,
                               lambda: "open descriptors: "
                               f"{self._staged_descriptors()}")
                status = self.stop()
                assert status == 0, \
                    f"exit status {status} after SIGTERM:\n{self.tail()}"
                self.check_leftovers()
        finally:
            if self.running:
                self.kill()
            self.check_complaints()

    def _staged_descriptors(self):
        return [d for d in self.descriptors().values()
                if d.startswith((str(self.data / "partial") + "/",
                                 str(self.data / "uploads") + "/"))
                and not SESSION.search(d)]


_INHERIT = """
import os, sys
given = [int(fd) for fd in sys.argv[1].split(",")]
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(given)]
for fd in given:
    os.close(fd)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
    os.close(fd)
os.environ["LISTEN_FDS"] = str(len(given))
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


def _address(listen):
    """The address of a listen entry."""
    return listen["address"] if isinstance(listen, dict) else listen


def _with_port(listen, port):
    """A listen entry with that port."""
    address = f"{_address(listen).rpartition(':')[0]}:{port}"
    return {**listen, "address": address} if isinstance(listen, dict) \
        else address


def wait_until(condition, timeout=5, message=lambda: "it never became true"):
    """The first true result of condition()."""
    end = time.monotonic() + timeout * SLOW
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(message())
        time.sleep(0.005)


ACCESS = re.compile(
    r'(?P<client>\S+) (?P<method>[A-Z]+|-) "(?P<path>[^"]*)" '
    r"(?P<status>\d{3}) (?P<bytes>\d+) (?P<duration>\S+) "
    r"(?P<verdict>\S+) (?P<upstream>\S+)$")


def parse_access(line):
    match = ACCESS.search(line)
    return match.groupdict() if match else None


def parse_metrics(text):
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name] = float(value)
    return found


class Watch:
    """What is opened, read or listed in these folders, by anybody
    (inotify(7))."""

    ACCESS, OPEN = 0x1, 0x20

    def __init__(self, folders):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.fd >= 0
        self.names = {}
        for folder in folders:
            number = self.libc.inotify_add_watch(
                self.fd, os.fsencode(folder), self.ACCESS | self.OPEN)
            assert number >= 0, os.strerror(ctypes.get_errno())
            self.names[number] = folder

    def seen(self):
        """The names so far."""
        found = []
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return found
        while data:
            number, _, _, length = struct.unpack_from("iIII", data)
            name = data[16:16 + length].rstrip(b"\0").decode()
            found.append(f"{self.names.get(number)}/{name}")
            data = data[16 + length:]
        return found

    def close(self):
        os.close(self.fd)


class NotifySocket:
    """The service manager's end of sd_notify."""

    def __init__(self, path):
        self.path = str(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.lines = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while True:
                self.lines += self.sock.recv(65536).decode().splitlines()
        except OSError:
            pass

    def close(self):
        self.sock.close()
