# SPDX-License-Identifier: Apache-2.0
"""
A small threaded HTTP/1.1 server that does exactly what it is told, wrongly
if need be: paced sends, resets and stalls after so many bytes, a body longer
or shorter than its Content-Length.
"""

import fcntl
import select
import socket
import ssl
import struct
import termios
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

SEND_MAX = 256 * 1024


class Pace:
    """A shared allowance of bytes per second."""

    def __init__(self, rate):
        self.rate = rate
        self._lock = threading.Lock()
        self._next = time.monotonic()

    @property
    def step(self):
        """Bytes to send at once: about 2 ms worth, so that bursts are short;
        one at a time where that is slow."""
        return 1 if self.rate < 1000 else \
            max(1024, min(SEND_MAX, int(self.rate / 500)))

    def take(self, count):
        """Wait until `count` more bytes may go."""
        with self._lock:
            now = time.monotonic()
            start = max(self._next, now - 0.01)
            self._next = start + count / self.rate
        if start > now:
            time.sleep(start - now)


@dataclass(eq=False)
class Request:
    """One request and what became of it; `sent` grows while it is answered."""

    server: str
    peer: tuple
    at: float
    method: str
    target: str
    path: str
    query: dict
    headers: dict
    body: bytes = b""
    kind: str = "other"
    name: str | None = None
    reference: str | None = None
    status: int | None = None
    sent: int = 0
    sending: bool = False  # `sent` is about to grow
    ended: float | None = None
    fault: object = None
    connection: int = 0

    @property
    def range(self):
        return self.headers.get("range")

    def __str__(self):
        extra = f" range={self.range}" if self.range else ""
        return (f"{self.at:.3f} {self.server} {self.method} {self.target}"
                f"{extra} -> {self.status} {self.sent} bytes")


@dataclass
class Plan:
    """How an answer is sent; everything off is a good answer."""

    delay: float = 0
    hold: threading.Event | None = None
    rate: float | None = None
    status: int | None = None
    body: bytes | None = None
    headers: dict = field(default_factory=dict)
    stop_after: int | None = None
    stop_how: str | None = None  # reset, truncate, stall
    flip_at: int | None = None
    chunked: bool = False
    ignore_range: bool = False
    redirect: object = None
    mute: bool = False
    released: list = field(default_factory=list)

    def is_released(self):
        return all(event.is_set() for event in self.released)


class Gone(Exception):
    """The connection has ended or is to end; nothing more to do with it."""


def parse_target(target):
    path, _, query = target.partition("?")
    found = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        found.setdefault(key, []).append(value)
    return unquote(path), found


class Connection:
    """One accepted connection, on a thread of its own."""

    def __init__(self, server, sock, peer, number):
        self.server = server
        self.sock = sock
        self.peer = peer
        self.number = number
        self.buffer = b""

    def _fill(self):
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        self.buffer += data

    def read_request(self):
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {}
        for line in lines:
            key, _, value = line.partition(":")
            key = key.lower()
            value = value.strip()
            headers[key] = f"{headers[key]}, {value}" if key in headers \
                else value
        length = int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            self._fill()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        path, query = parse_target(target)
        return Request(self.server.name, self.peer, time.monotonic(), method,
                       target, path, query, headers, body,
                       connection=self.number)

    def peer_left(self):
        """Has the peer closed or reset?  Takes no bytes."""
        try:
            ready, _, _ = select.select([self.sock], [], [], 0)
            return bool(ready) and \
                self.raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True

    @property
    def raw(self):
        """The TCP socket, also where TLS is on top of it."""
        if isinstance(self.sock, ssl.SSLSocket):
            return socket.socket(fileno=socket.dup(self.sock.fileno()))
        return self.sock

    def wait(self, condition, seconds=None):
        """Until condition(); Gone if the peer leaves or we shut down."""
        end = None if seconds is None else time.monotonic() + seconds
        while not condition():
            left = 0.02 if end is None else min(0.02, end - time.monotonic())
            if left <= 0:
                return
            if self.server.stopping.wait(left) or self.peer_left():
                raise Gone

    def reset(self):
        """Let what was sent arrive, then RST."""
        fd = self.sock.fileno()
        for _ in range(200):
            queued = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ,
                                                    b"\0\0\0\0"))[0]
            if not queued:
                break
            time.sleep(0.005)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()
        raise Gone

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (OSError, ValueError) as error:
            raise Gone from error

    def _send_paced(self, request, data, paces):
        """All of `data`; counts what the socket took."""
        step = min([SEND_MAX] + [p.step for p in paces])
        for at in range(0, len(data), step):
            piece = data[at:at + step]
            for pace in paces:
                pace.take(len(piece))
            try:
                done = 0
                while done < len(piece):
                    request.sending = True
                    taken = self.sock.send(piece[done:])
                    done += taken
                    request.sent += taken
                    request.sending = False
            except (OSError, ValueError) as error:
                request.sending = False
                raise Gone from error

    def _stop(self, plan):
        if plan.stop_how == "reset":
            self.reset()
        elif plan.stop_how == "truncate":
            raise Gone
        else:
            self.wait(plan.is_released)

    def _send_body(self, request, body, plan, paces):
        view = memoryview(body)
        stop = plan.stop_after
        if stop is not None and stop < len(view):
            self._send_paced(request, view[:stop], paces)
            self._stop(plan)
            view = view[stop:]
        if not plan.chunked:
            self._send_paced(request, view, paces)
            return
        for at in range(0, len(view), 65536):
            piece = view[at:at + 65536]
            self.send(b"%x\r\n" % len(piece))
            self._send_paced(request, piece, paces)
            self.send(b"\r\n")
        self.send(b"0\r\n\r\n")

    def reply(self, request, status, headers, body, plan):
        """
        Send an answer as `plan` says.  `headers` maps names to a value, or to
        a list of values; Content-Length is the body's unless given.
        """
        headers = dict(headers)
        if plan.chunked:
            headers["Transfer-Encoding"] = "chunked"
            headers.pop("Content-Length", None)
        elif status != 304:
            headers.setdefault("Content-Length", str(len(body)))
        _override(headers, plan.headers)
        request.status = status
        if plan.stop_how and plan.stop_after is not None \
                and plan.stop_after < 0:
            self._stop(plan)
        lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
        for key, value in headers.items():
            for one in value if isinstance(value, list) else [value]:
                lines.append(f"{key}: {one}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if request.method == "HEAD" or status in (204, 304):
            return
        if plan.flip_at is not None and plan.flip_at < len(body):
            body = bytearray(body)
            body[plan.flip_at] ^= 0xFF
        paces = list(self.server.paces)
        if plan.rate:
            paces.append(Pace(plan.rate))
        self._send_body(request, body, plan, paces)

    def run(self):
        try:
            if self.server.tls:
                self.sock = self.server.tls.wrap_socket(self.sock,
                                                        server_side=True)
            while True:
                if self.server.mute.is_set():
                    self.wait(lambda: not self.server.mute.is_set())
                request = self.read_request()
                try:
                    self.server.handler(request, self)
                finally:
                    request.ended = time.monotonic()
                if "close" in request.headers.get("connection", "").lower():
                    break
        except (Gone, OSError, ValueError):
            pass
        finally:
            self.server.forget(self)
            try:
                self.sock.close()
            except OSError:
                pass


def _override(headers, changes):
    """Apply {name: new value, or None to leave it out}, any case."""
    for name, value in changes.items():
        for key in [k for k in headers if k.lower() == name.lower()]:
            del headers[key]
        if value is not None:
            headers[name] = value


def _phrase(status):
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Odd"


class HttpServer:
    """
    A listener on `host`, port chosen by the kernel once and kept: close() and
    open() again stand for an outage.  handler(request, connection) answers.
    """

    def __init__(self, name, handler, host="127.0.0.1", tls=None):
        self.name = name
        self.handler = handler
        self.host = host
        self.tls = tls
        self.port = 0
        self.paces = []
        self.mute = threading.Event()
        self.stopping = threading.Event()
        self.accepted = 0
        self._lock = threading.Lock()
        self._connections = set()
        self._listener = None
        self.open()

    @property
    def authority(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    def open(self):
        """Listen (again)."""
        if self._listener:
            return
        self.stopping = threading.Event()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(256)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,),
                         daemon=True).start()

    def close(self, connections=True):
        """Refuse connections from now on, and cut those that are open."""
        listener, self._listener = self._listener, None
        if listener:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        if connections:
            self.stopping.set()
            self.cut()

    def cut(self):
        """End every open connection."""
        with self._lock:
            open_now = list(self._connections)
        for connection in open_now:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def connections(self):
        with self._lock:
            return len(self._connections)

    def forget(self, connection):
        with self._lock:
            self._connections.discard(connection)

    def _accept(self, listener):
        while True:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.accepted += 1
            connection = Connection(self, sock, peer, self.accepted)
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=connection.run, daemon=True).start()
