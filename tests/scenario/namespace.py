# SPDX-License-Identifier: Apache-2.0
"""
A network namespace of the daemon's own, with addresses that are not loopback,
so that a test's connections come from "another machine" without a packet that
leaves this one.
"""

import contextlib
import ctypes
import os

V4 = "10.99.0.9"
V6 = "fd00:99::9"

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

# The words before a command that start it there.
WRAP = ["unshare", "-n", "sh", "-c",
        f"ip link set lo up && ip addr add {V4}/32 dev lo && "
        f"ip addr add {V6}/128 dev lo nodad && exec \"$@\"", "sh"]


def _enter(path):
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(fd)


@contextlib.contextmanager
def inside(daemon):
    """Sockets that this thread makes meanwhile are in the daemon's."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(f"/proc/{daemon.pid}/ns/net")
        try:
            yield
        finally:
            if _libc.setns(own, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns back")
    finally:
        os.close(own)
