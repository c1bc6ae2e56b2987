# SPDX-License-Identifier: Apache-2.0
"""
A scripted name server, and a way to give it to one process alone: a mount
namespace in which /etc/resolv.conf names it.  Needs root.
"""

import os
import socket
import struct
import threading

TYPE_A = 1


class NameServer:
    """
    `names` maps a name to its IPv4 addresses; what is not there does not
    exist.  `delay` maps a name to seconds, or to None: no answer ever.
    """

    def __init__(self, folder):
        self.names = {}
        self.delay = {}
        self.asked = []
        self.stopping = threading.Event()
        # Addresses of loopback that nobody else on this machine is using.
        self.host = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((self.host, 53))
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {self.host}\n"
                                    "options timeout:5 attempts:2\n")
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def wrap(self):
        """The words before a command that make it ask this server."""
        return ["unshare", "-m", "sh", "-c",
                'mount --bind "$0" /etc/resolv.conf && exec "$@"',
                str(self.resolv_conf)]

    def close(self):
        self.stopping.set()
        # A socket that a thread reads from outlives its close().
        self.sock.sendto(b"", (self.host, 53))
        self.thread.join()
        self.sock.close()

    def count(self, name):
        return sum(1 for n in self.asked if n == name)

    def _run(self):
        while True:
            query, peer = self.sock.recvfrom(4096)
            if self.stopping.is_set():
                return
            threading.Thread(target=self._answer, args=(query, peer),
                             daemon=True).start()

    def _answer(self, query, peer):
        name, end = _name(query)
        kind = struct.unpack(">H", query[end:end + 2])[0]
        if kind == TYPE_A:
            self.asked.append(name)
        delay = self.delay.get(name, 0)
        if delay is None or (delay and self.stopping.wait(delay)):
            return
        question = query[12:end + 4]
        known = name in self.names
        addresses = self.names.get(name, []) if kind == TYPE_A else []
        head = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183,
                                       1, len(addresses), 0, 0)
        answers = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", TYPE_A, 1, 1, 4)
            + socket.inet_aton(a) for a in addresses)
        try:
            self.sock.sendto(head + question + answers, peer)
        except OSError:
            pass


def _name(query):
    """(the name asked for, where it ends)."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels).lower(), at + 1
