# SPDX-License-Identifier: Apache-2.0
"""
The servers that are measured side by side: ours, nginx (the limit) and
Debian's docker-registry (the peer), each on a loopback port of its own, and
the upstream that feeds ours.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "scenario"))

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=20):
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def tree_of(pid):
    """The process and its children (nginx's worker is one)."""
    found = [pid]
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return found
    for child in text.split():
        found += tree_of(int(child))
    return found


def cpu_seconds(pid):
    total = 0
    for one in tree_of(pid):
        try:
            stat = Path(f"/proc/{one}/stat").read_text()
        except FileNotFoundError:
            continue
        fields = stat.rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def private_mib(pid):
    """RssAnon + RssShmem."""
    total = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("RssAnon:", "RssShmem:")):
            total += int(line.split()[1])
    return total / 1024


class Server:
    def __init__(self, name, command, port, cwd=None):
        self.name, self.port = name, port
        self.log = open(Path(cwd or ".") / f"{name}.log", "ab")
        self.process = subprocess.Popen(command, cwd=cwd, stdout=self.log,
                                        stderr=self.log,
                                        stdin=subprocess.DEVNULL,
                                        start_new_session=True)
        self.pid = self.process.pid
        wait_port(port)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.process.wait()
        self.log.close()


def nginx(folder, root):
    """One worker, sendfile, keep-alive without a limit."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "nginx.conf"
    conf.write_text(f"""
user root; daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; sendfile_max_chunk 2m;
  keepalive_requests 1000000000; default_type application/octet-stream;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
""")
    return Server("nginx", ["nginx", "-c", str(conf), "-p", str(folder)], port,
                  folder)


def docker_registry(folder):
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "registry.yml"
    conf.write_text(f"""
version: 0.1
log: {{ level: error, accesslog: {{ disabled: true }} }}
storage: {{ filesystem: {{ rootdirectory: {folder}/data }} }}
http: {{ addr: "127.0.0.1:{port}" }}
""")
    return Server("docker-registry", ["docker-registry", "serve", str(conf)],
                  port, folder)


def load(port, path, **options):
    """Run the bench client; its figures."""
    return json.loads(load_start(port, path, **options).communicate()[0])


def load_start(port, *paths, **options):
    names = {"connections": "-c", "seconds": "-d", "requests": "-n",
             "rate": "-r", "stop_after": "-s", "header": "-H"}
    command = [str(load.program), "-p", str(port)]
    for key, value in options.items():
        command += [names[key], str(value)]
    return subprocess.Popen([*command, *paths], stdout=subprocess.PIPE,
                            text=True)


def idle_connections(port, count):
    process = subprocess.Popen(
        [str(load.program), "-p", str(port), "-c", str(count), "-k"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "idle\n"
    return process


def push_start(port, path, lines, clients=1):
    """Run the client that pushes `lines` (push.c) out of file `path`."""
    process = subprocess.Popen([str(push.program), "-p", str(port), "-f",
                                str(path), "-c", str(clients)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    process.stdin.write(lines)
    process.stdin.close()
    process.stdin = None
    return process


def pushed(process):
    """Its figures."""
    text = process.stdout.read()
    assert process.wait() == 0, \
        f"the client was cut off ({process.returncode}): is the disk full?"
    got = json.loads(text)
    assert not got["failed"], got
    return got


def push(*arguments, **options):
    return pushed(push_start(*arguments, **options))


def build_clients(folder):
    for client in (load, push):
        client.program = folder / client.__name__
        subprocess.run(["gcc", "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-pthread",
                        "-o", str(client.program),
                        str(HERE / f"{client.__name__}.c")], check=True)
