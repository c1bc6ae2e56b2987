# SPDX-License-Identifier: Apache-2.0
"""
The world the clients live in: this process's own network and mount
namespaces.  The network has nothing but loopback, so no packet leaves the
machine; /etc/hosts says where names lead:

    mirror.example.lan     127.0.0.1, the name that conf/clients/* use
    the real registries    127.0.0.2, where the Trap counts who comes

/run, /etc/containers and /var/lib/containers are ours too, so the clients
find no settings of the machine and leave nothing on it.  All of it ends with
the last process that was started here.
"""

import ctypes
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Debian's own programs, whatever else the user's PATH finds first.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

MIRROR = "mirror.example.lan"
REAL = ["docker.io", "registry-1.docker.io", "index.docker.io",
        "auth.docker.io", "production.cloudflare.docker.com", "quay.io",
        "ghcr.io", "registry.k8s.io"]

COMMAND_LIMIT_S = 50

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
PR_SET_CHILD_SUBREAPER = 36

POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'

_libc = ctypes.CDLL(None, use_errno=True)


def need(*programs):
    """Nothing is skipped: a client that is not there is a failure."""
    missing = [p for p in programs if not shutil.which(p, path=PATH)]
    assert not missing, f"not installed: {', '.join(missing)}; " \
        "`tests/deps.sh clients` installs them"


def go_client(name):
    """The path of a client that no package carries."""
    done = subprocess.run([ROOT / "tests/deps.sh", "--go-client", name],
                          check=False, capture_output=True, text=True)
    path = done.stdout.strip()
    assert os.access(path, os.X_OK), \
        f"not installed: {name}; `tests/deps.sh clients` installs it"
    return path


def _call(name, *arguments):
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)} "
                      "(real clients need root and namespaces)")


def _sh(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL,
                   env={"PATH": PATH})


class Trap:
    """
    Listens where the real registries would be.  Whoever connects is noted and
    cut off at once: as good as a network that is not there, but countable.
    """

    def __init__(self):
        self.connections = []  # ports
        self._selector = selectors.DefaultSelector()
        for port in (80, 443):
            sock = socket.create_server(("127.0.0.2", port), backlog=64)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, port)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            for key, _ in self._selector.select():
                try:
                    connection, _ = key.fileobj.accept()
                except OSError:
                    continue
                self.connections.append(key.data)
                connection.close()


class World:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.kept = set()  # pids that stay between tests
        self._made = []  # folders outside, to be removed if empty
        _call("unshare", CLONE_NEWNS | CLONE_NEWNET)
        # Orphans of the clients (shims, conmon) come back to us.
        _call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _sh("mount", "--make-rprivate", "/")
        _sh("ip", "link", "set", "lo", "up")
        self._mounts()
        self.env = self._environment()
        self.trap = Trap()

    def _mounts(self):
        _sh("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
        for name in ("lock", "containers"):
            (Path("/run") / name).mkdir()
        hosts = "".join(f"127.0.0.2 {name}\n" for name in REAL)
        self._file("/etc/hosts",
                   f"127.0.0.1 localhost {MIRROR}\n::1 localhost\n" + hosts)
        # Nobody listens there: an unknown name fails at once.
        self._file("/etc/resolv.conf", "nameserver 127.0.0.3\n")
        self.containers = self._directory("/etc/containers")
        (self.containers / "policy.json").write_text(POLICY)
        (self.containers / "registries.conf.d").mkdir()
        self._directory("/var/lib/containers")

    def _file(self, path, text):
        """`text` in the place of that file, seen only from here."""
        ours = self.folder / path.replace("/", "_")
        ours.write_text(text)
        if os.path.exists(path):
            _sh("mount", "--bind", str(ours), os.path.realpath(path))

    def _directory(self, path):
        ours = self.folder / path.replace("/", "_")
        ours.mkdir()
        if not os.path.isdir(path):
            os.mkdir(path)
            self._made.append(path)
        _sh("mount", "--bind", str(ours), path)
        return Path(path)

    def _environment(self):
        env = {"PATH": PATH, "LANG": "C.UTF-8", "XDG_RUNTIME_DIR": "/run"}
        for name, folder in (("HOME", "home"), ("TMPDIR", "tmp")):
            (self.folder / folder).mkdir()
            env[name] = str(self.folder / folder)
        return env

    def short_folder(self):
        """For sockets: their paths, and podman's patience, are short."""
        return Path(tempfile.mkdtemp(dir="/run", prefix=""))

    # ---- programs ----

    def run(self, *command, check=True, limit=COMMAND_LIMIT_S, env=None):
        """A command to its end; its output is in the result."""
        words = [str(word) for word in command]
        need(words[0])
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace",
            start_new_session=True, env={**self.env, **(env or {})})
        try:
            out, err = child.communicate(timeout=limit)
        except BaseException as error:
            os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise AssertionError(f"{' '.join(words)}: not done after "
                                     f"{limit} s\n{out}{err}") from None
            raise
        done = subprocess.CompletedProcess(words, child.returncode, out, err)
        assert not check or done.returncode == 0, \
            f"{' '.join(words)}: exit status {done.returncode}\n{out}{err}"
        return done

    def serve(self, *command, log, errors=None, env=None):
        """A daemon; it dies with us.  Its stderr goes to `errors` or `log`."""
        need(str(command[0]))
        with open(log, "ab") as output, open(errors or log, "ab") as error:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--",
                 *(str(word) for word in command)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=error,
                env={**self.env, **(env or {})})

    # ---- the end ----

    def end_strays(self):
        """Kill what the clients left running."""
        end = time.monotonic() + 5
        while strays := descendants(os.getpid()) - self.kept:
            for pid in strays:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            for pid in strays:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
            assert time.monotonic() < end, f"processes stay: {strays}"
            time.sleep(0.01)

    def leave(self):
        self.kept.clear()
        self.end_strays()
        unmount_below("/etc/containers", "/var/lib/containers", "/run",
                      self.folder)
        for path in self._made:
            try:
                os.rmdir(path)
            except OSError:
                pass


def stop(process, limit=10):
    """SIGTERM, and SIGKILL for what does not care."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def descendants(ancestor):
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(text.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = set(), [ancestor]
    while todo:
        for child in children.get(todo.pop(), []):
            found.add(child)
            todo.append(child)
    return found


def unescape(path):
    """/proc writes blanks in paths as \\040."""
    return re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), path)


def unmount_below(*folders):
    """Every mount at or below the folders, the last made first."""
    text = Path("/proc/self/mountinfo").read_text()
    points = [unescape(line.split()[4]) for line in text.splitlines()]
    for point in reversed(points):
        if any(point == str(f) or point.startswith(f"{f}/") for f in folders):
            subprocess.run(["umount", "-l", point], check=False,
                           env={"PATH": PATH}, stderr=subprocess.DEVNULL)


def remove_cgroups(name):
    """The control groups that a container's parent group leaves empty."""
    for path in sorted(Path("/sys/fs/cgroup").glob(f"**/{name}"),
                       key=lambda p: -len(str(p))):
        for folder, _, _ in os.walk(path, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass
