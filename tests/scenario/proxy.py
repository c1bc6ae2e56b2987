# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy that notes what it was asked: absolute URLs, and CONNECT."""

import socket
import threading
from urllib.parse import urlsplit


class Proxy:
    """`asked` has (method, host:port, Proxy-Authorization or None)."""

    def __init__(self):
        self.asked = []
        self._open = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def targets(self):
        return {target for _, target, _ in self.asked}

    def close(self):
        """Refuse connections, and cut those that are open."""
        if self._listener.fileno() < 0:
            return
        # A socket that a thread accepts from outlives its close().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._open:
                one.close()

    def _accept(self):
        try:
            while True:
                here, _ = self._listener.accept()
                with self._lock:
                    self._open.add(here)
                threading.Thread(target=self._serve, args=(here,),
                                 daemon=True).start()
        except OSError:
            pass

    def _serve(self, here):
        """One target a connection; each request is seen, none is changed but
        for its first line."""
        try:
            head = _read_head(here)
            while head:
                method, target, host = self._note(head)
                with socket.create_connection(host, 10) as there:
                    if method == "CONNECT":
                        here.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                        _both_ways(here, there)
                        return
                    first, _, rest = head.partition(b"\r\n")
                    there.sendall(first.replace(target, _path(target), 1)
                                  + b"\r\nConnection: close\r\n" + rest)
                    _copy(there, here)
                return
        except OSError:
            pass
        finally:
            here.close()

    def _note(self, head):
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        fields = dict(line.split(b": ", 1) for line in
                      head.strip().split(b"\r\n")[1:])
        where = target if method == b"CONNECT" else \
            urlsplit(target).netloc
        secret = fields.get(b"Proxy-Authorization")
        self.asked.append((method.decode(), where.decode(),
                           secret and secret.decode()))
        host, _, port = where.decode().rpartition(":")
        return method.decode(), target, (host, int(port))


def _path(url):
    parts = urlsplit(url)
    return parts.path + (b"?" + parts.query if parts.query else b"")


def _read_head(sock):
    head = b""
    while b"\r\n\r\n" not in head:
        more = sock.recv(65536)
        if not more:
            return b""
        head += more
    return head


def _copy(source, sink):
    while data := source.recv(65536):
        sink.sendall(data)


def _both_ways(here, there):
    back = threading.Thread(target=_quietly, args=(there, here), daemon=True)
    back.start()
    _quietly(here, there)
    there.shutdown(socket.SHUT_RDWR)
    back.join()


def _quietly(source, sink):
    try:
        _copy(source, sink)
    except OSError:
        pass
