# SPDX-License-Identifier: Apache-2.0
"""
Clients: a raw connection that can do what no library lets one do, and pulls
in the order of requests of dockerd, containerd and podman.
"""

import hashlib
import json
import os
import random
import re
import socket
import ssl
import struct
import threading
import time
import weakref
from pathlib import Path

import content

SLOW = float(os.environ.get("ENTREPOT_SLOW", "1"))
TIMEOUT = 10 * SLOW

_open = weakref.WeakSet()


def close_all():
    """Close every connection that a test left open."""
    for connection in list(_open):
        connection.close()


class Closed(Exception):
    """The peer closed before a whole answer; `data` is what came of it."""

    def __init__(self, message, data=b""):
        super().__init__(message)
        self.data = data


class Headers:
    """Header fields, any case, in order."""

    def __init__(self, pairs):
        self.pairs = pairs

    def all(self, name):
        return [v for k, v in self.pairs if k.lower() == name.lower()]

    def get(self, name, default=None):
        found = self.all(name)
        return found[0] if found else default

    def __getitem__(self, name):
        found = self.all(name)
        if not found:
            raise KeyError(f"{name} is not among {self.pairs}")
        return found[0]

    def __contains__(self, name):
        return bool(self.all(name))


class Response:
    def __init__(self, status, headers, body=b""):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    @property
    def length(self):
        text = self.headers.get("Content-Length")
        return None if text is None else int(text)

    @property
    def digest(self):
        return self.headers.get("Docker-Content-Digest")

    @property
    def verdict(self):
        return self.headers.get("X-Cache")

    @property
    def warning(self):
        return self.headers.get("Warning")

    @property
    def code(self):
        """The code of a registry error body."""
        return self.json()["errors"][0]["code"]

    @property
    def message(self):
        """Message and detail of a registry error body, as one text."""
        one = self.json()["errors"][0]
        return f"{one.get('message', '')} {json.dumps(one.get('detail'))}"

    def __repr__(self):
        return (f"<{self.status} {self.headers.pairs} "
                f"{bytes(self.body[:300])!r}>")


class Connection:
    """A connection to `address` = (host, port)."""

    def __init__(self, address, tls=None, timeout=None, rcvbuf=None,
                 maxseg=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if maxseg:  # of a small one the peer's kernel buffers little
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, maxseg)
        sock.settimeout(timeout or TIMEOUT)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            sock = tls.wrap_socket(sock, server_hostname=address[0])
        self.address = address
        self.sock = sock
        self.buffer = b""
        _open.add(self)

    # ---- raw ----

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def recv(self, count=262144):
        """What is there, at most `count` bytes; b"" at the end."""
        if self.buffer:
            out, self.buffer = self.buffer[:count], self.buffer[count:]
            return out
        return self.sock.recv(count)

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass
        _open.discard(self)

    def is_taken(self):
        """Has the peer's program read all that was sent?"""
        ours, theirs = self.sock.getsockname()[1], self.sock.getpeername()[1]
        waiting = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, here, there, _, queues = line.split()[:5]
            ports = tuple(int(end.rpartition(":")[2], 16)
                          for end in (here, there))
            waiting[ports] = [int(n, 16) for n in queues.split(":")]
        return waiting[ours, theirs][0] == waiting[theirs, ours][1] == 0

    def reset(self):
        """Leave with an RST, which takes what is on its way along."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.close()

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def is_closed(self, within=1.0):
        """Does the peer close (or reset) within that time, sending no more?"""
        self.sock.settimeout(within * SLOW)
        try:
            return self.recv() == b""
        except ConnectionError:
            return True
        except (socket.timeout, ssl.SSLError):
            return False
        finally:
            self.sock.settimeout(TIMEOUT)

    def read_all(self):
        """Everything until the peer closes or resets."""
        out = b""
        try:
            while data := self.recv():
                out += data
        except ConnectionError:
            pass
        return out

    # ---- HTTP ----

    def send_head(self, method, path, headers=None, host=None):
        pairs = list(headers.items()) if isinstance(headers, dict) \
            else list(headers or [])
        if not any(k.lower() == "host" for k, _ in pairs):
            pairs.insert(0, ("Host", host or "%s:%d" % self.address))
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{k}: {v}" for k, v in pairs]
        self.send("\r\n".join(lines) + "\r\n\r\n")

    def _more(self):
        data = self.sock.recv(262144)
        if not data:
            raise Closed("closed within an answer", self.buffer)
        self.buffer += data

    def read_head(self):
        """The next head, 100 Continue included, as a Response."""
        try:
            while b"\r\n\r\n" not in self.buffer:
                self._more()
        except ConnectionError as error:
            raise Closed(f"{error} before a head", self.buffer) from error
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", first)
        assert match, f"bad status line {first!r}"
        pairs = []
        for line in lines:
            key, colon, value = line.partition(": ")
            assert colon and key, f"bad header line {line!r}"
            pairs.append((key, value))
        headers = Headers(pairs)
        lengths = headers.all("Content-Length")
        assert len(lengths) <= 1, f"several lengths: {pairs}"
        return Response(int(match.group(1)), headers)

    def read_exactly(self, count):
        out = bytearray(self.buffer[:count])
        self.buffer = self.buffer[count:]
        try:
            while len(out) < count:
                data = self.sock.recv(min(262144, count - len(out)))
                if not data:
                    raise Closed(f"closed after {len(out)} of {count} bytes",
                                 bytes(out))
                out += data
        except ConnectionError as error:
            raise Closed(f"{error} after {len(out)} of {count} bytes",
                         bytes(out)) from error
        return bytes(out)

    def read_body(self, response, method="GET"):
        if method == "HEAD" or response.status in (204, 304) or \
                100 <= response.status < 200:
            return response
        coding = response.headers.get("Transfer-Encoding")
        if coding == "chunked":
            response.body = self._read_chunks()
        else:
            assert response.length is not None, f"no length: {response}"
            response.body = self.read_exactly(response.length)
        return response

    def _read_chunks(self):
        out = b""
        while True:
            while b"\r\n" not in self.buffer:
                self._more()
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            size = int(line, 16)
            out += self.read_exactly(size)
            assert self.read_exactly(2) == b"\r\n"
            if not size:
                return out

    def read(self, method="GET"):
        """The next whole answer."""
        return self.read_body(self.read_head(), method)

    def request(self, method, path, headers=None, body=None):
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("Content-Length", str(len(body)))
        self.send_head(method, path, headers)
        if body:
            self.send(body)
        return self.read(method)

    def get(self, path, headers=None):
        return self.request("GET", path, headers)

    def head(self, path, headers=None):
        return self.request("HEAD", path, headers)


class Download:
    """A GET whose body is read as the test wishes."""

    def __init__(self, address, path, headers=None, rcvbuf=None):
        self.connection = Connection(address, rcvbuf=rcvbuf)
        self.connection.send_head("GET", path, headers)
        self.response = None
        self.body = bytearray()

    def start(self):
        """Read the head."""
        self.response = self.connection.read_head()
        return self.response

    def read(self, count):
        """Exactly that many more bytes."""
        if self.response is None:
            self.start()
        self.body += self.connection.read_exactly(count)
        return self

    def read_for(self, seconds):
        """What comes within that time."""
        if self.response is None:
            self.start()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.connection.sock.settimeout(left)
            try:
                data = self.connection.recv()
            except socket.timeout:
                break
            if not data:
                break
            self.body += data
        self.connection.sock.settimeout(TIMEOUT)
        return self

    def finish(self):
        """The rest; Closed if the answer is cut.  The whole Response."""
        if self.response is None:
            self.start()
        assert self.response.length is not None, str(self.response)
        self.read(self.response.length - len(self.body))
        self.response.body = bytes(self.body)
        self.connection.close()
        return self.response

    def cut(self):
        """Read until the peer cuts the answer short; what came."""
        try:
            self.finish()
        except Closed as error:
            self.body += error.data
            return bytes(self.body)
        raise AssertionError(f"the answer was complete: {self.response}")

    def leave(self, reset=False):
        (self.connection.reset if reset else self.connection.close)()


def request(address, method, path, headers=None, body=None, tls=None):
    """One request on a connection of its own."""
    connection = Connection(address, tls=tls)
    try:
        headers = {"Connection": "close", **(headers or {})}
        return connection.request(method, path, headers, body)
    finally:
        connection.close()


class Background(threading.Thread):
    """A call on another thread; join() gives its result or raises."""

    def __init__(self, call, *args, **kwargs):
        super().__init__(daemon=True)
        self._call = lambda: call(*args, **kwargs)
        self.result = None
        self.error = None
        self.start()

    def run(self):
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error

    def join(self, timeout=None):
        super().join(timeout or 3 * TIMEOUT)
        assert not self.is_alive(), "still running"
        if self.error:
            raise self.error
        return self.result


def all_at_once(call, arguments):
    """call(x) for each x, each on a thread; the results in order."""
    running = [Background(call, x) for x in arguments]
    return [r.join() for r in running]


def multipart(response):
    """[(first, last, total, bytes)] of a multipart/byteranges answer."""
    kind = response.headers["Content-Type"]
    match = re.fullmatch(r'multipart/byteranges; ?boundary="?([^"]+)"?', kind)
    assert match, kind
    boundary = match.group(1).encode()
    rest = response.body
    parts = []
    while True:
        at = rest.index(b"--" + boundary)
        assert rest[:at] in (b"", b"\r\n"), rest[:at]
        rest = rest[at + 2 + len(boundary):]
        if rest.startswith(b"--"):
            assert rest in (b"--", b"--\r\n"), rest
            return parts
        assert rest.startswith(b"\r\n")
        head, _, rest = rest[2:].partition(b"\r\n\r\n")
        fields = {k.lower(): v for k, v in
                  (line.split(": ", 1) for line in head.decode().split("\r\n"))}
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)",
                             fields["content-range"])
        assert found, fields
        first, last, total = map(int, found.groups())
        parts.append((first, last, total, rest[:last - first + 1]))
        rest = rest[last - first + 1:]


# ---- pulls as real clients do them ----

DOCKER_ACCEPT = [content.DOCKER_MANIFEST, content.DOCKER_LIST,
                 content.OCI_INDEX,
                 "application/vnd.docker.distribution.manifest.v1+prettyjws",
                 "application/json", content.OCI_MANIFEST]
CONTAINERD_ACCEPT = ", ".join([content.DOCKER_MANIFEST, content.DOCKER_LIST,
                               content.OCI_MANIFEST, content.OCI_INDEX, "*/*"])
PODMAN_ACCEPT = [content.OCI_MANIFEST, content.DOCKER_MANIFEST,
                 "application/vnd.docker.distribution.manifest.v1+prettyjws",
                 "application/vnd.docker.distribution.manifest.v1+json",
                 content.DOCKER_LIST, content.OCI_INDEX]


def check_manifest(response, image):
    assert response.status == 200, response
    assert response.body == image.data
    assert response.digest == image.digest
    assert response.headers["Content-Type"] == image.media_type
    assert response.length == image.size


def check_blob(response, blob):
    assert response.status == 200, response
    assert response.length == blob.size
    alg, _, hexed = blob.digest.partition(":")
    assert hashlib.new(alg, response.body).hexdigest() == hexed


class Docker:
    """dockerd's graph driver: a ping, HEAD and GET of the tag, a connection
    for each request, six Accept lines in random order."""

    def __init__(self, address):
        self.address = address

    def ask(self, method, path, accept=()):
        connection = Connection(self.address)
        accept = list(accept)
        random.shuffle(accept)
        pairs = [("User-Agent", "docker/20.10.24"), *(("Accept", a)
                                                      for a in accept),
                 ("Accept-Encoding", "gzip"), ("Connection", "close")]
        try:
            connection.send_head(method, path, pairs)
            return connection.read(method)
        finally:
            connection.close()

    def ping(self):
        return self.ask("GET", "/v2/")

    def manifest(self, name, reference, method="GET"):
        return self.ask(method, f"/v2/{name}/manifests/{reference}",
                        DOCKER_ACCEPT)

    def blob(self, name, digest):
        return self.ask("GET", f"/v2/{name}/blobs/{digest}")

    def pull(self, name, tag, image, child=0):
        assert self.ping().status == 200
        head = self.manifest(name, tag, "HEAD")
        assert head.status == 200 and head.digest == image.digest, head
        check_manifest(self.manifest(name, image.digest), image)
        if image.children:
            image = image.children[child]
            check_manifest(self.manifest(name, image.digest), image)
        self.pull_blobs(name, image)

    def pull_blobs(self, name, image):
        check_blob(self.blob(name, image.config.digest), image.config)
        for response, blob in zip(
                all_at_once(lambda b: self.blob(name, b.digest),
                            image.layers), image.layers):
            check_blob(response, blob)


class Containerd:
    """containerd with hosts.toml: HEAD of the tag, everything else by digest,
    each request with ?ns=."""

    def __init__(self, address, ns="docker.io"):
        self.connection = Connection(address)
        self.address = address
        self.ns = ns

    def ask(self, method, path, accept):
        if self.ns:
            path += f"?ns={self.ns}"
        response = self.connection.request(
            method, path, {"User-Agent": "containerd/1.6.20", "Accept": accept,
                           "Accept-Encoding": "zstd;q=1.0, gzip;q=0.8"})
        if self.ns and response.status < 400:
            assert response.headers["OCI-Namespace"] == self.ns
        return response

    def pull(self, name, tag, image, child=0):
        head = self.ask("HEAD", f"/v2/{name}/manifests/{tag}",
                        CONTAINERD_ACCEPT)
        assert head.status == 200 and head.digest == image.digest, head
        assert head.length == image.size
        images = [image] + image.children[child:child + 1]
        for one in images:
            check_manifest(
                self.ask("GET", f"/v2/{name}/manifests/{one.digest}",
                         f"{one.media_type}, */*"), one)
        for blob in images[-1].blobs:
            check_blob(self.ask("GET", f"/v2/{name}/blobs/{blob.digest}",
                                f"{blob.media_type}, */*"), blob)


class Podman:
    """containers/image: a ping, GET of the tag without HEAD, no ns."""

    def __init__(self, address):
        self.connection = Connection(address)

    def ask(self, path, accept=()):
        self.connection.send_head(
            "GET", path, [("User-Agent", "containers/5.24 (containers/image)"),
                          *(("Accept", a) for a in accept)])
        return self.connection.read()

    def pull(self, name, tag, image, child=0):
        assert self.ask("/v2/").status in (200, 401)
        check_manifest(self.ask(f"/v2/{name}/manifests/{tag}", PODMAN_ACCEPT),
                       image)
        if image.children:
            image = image.children[child]
            check_manifest(self.ask(f"/v2/{name}/manifests/{image.digest}",
                                    PODMAN_ACCEPT), image)
        for blob in image.layers + [image.config]:
            check_blob(self.ask(f"/v2/{name}/blobs/{blob.digest}"), blob)
