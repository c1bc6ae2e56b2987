# SPDX-License-Identifier: Apache-2.0
"""Faults on command: which requests they meet, and what they do to them."""

import threading
from dataclasses import dataclass, field

from httpd import Plan


@dataclass(eq=False)
class Fault:
    """
    Meets requests of `kind` (manifest, blob, cdn, token, tags, referrers,
    ping, any; several in a tuple), optionally of one method, repository and
    reference (tag or digest); skips the first `skip` of them, acts on `times`
    (None: all).  `when(request)` may judge further.

    What it does (several may be combined):
      delay           seconds before the head
      hold            True: wait for release() before the head
      rate            bytes per second of the body
      status, body, headers   another answer; a header of None is left out
      reset_after, stall_after, truncate_after   that many bytes of the body
                      first; -1 is before the head.  A stall ends with
                      release().
      flip_at         one byte of the body wrong, at this offset
      chunked         chunked coding, no Content-Length
      ignore_range    200 with everything
      redirect        a Location; or "loop": to itself
      mute            read the request, never answer
    """

    kind: object = "any"
    method: str | None = None
    name: str | None = None
    reference: str | None = None
    when: object = None
    times: int | None = None
    skip: int = 0

    delay: float = 0
    hold: bool = False
    rate: float | None = None
    status: int | None = None
    body: bytes | None = None
    headers: dict = field(default_factory=dict)
    reset_after: int | None = None
    stall_after: int | None = None
    truncate_after: int | None = None
    flip_at: int | None = None
    chunked: bool = False
    ignore_range: bool = False
    redirect: object = None
    mute: bool = False

    met: list = field(default_factory=list)  # the requests it acted on
    seen: int = 0
    cleared: bool = False
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def hits(self):
        return len(self.met)

    def release(self):
        """Let what it holds or stalls go on."""
        self.released.set()

    def clear(self):
        """Meet nothing any more; what it holds goes on."""
        self.cleared = True
        self.release()

    def matches(self, request):
        kinds = self.kind if isinstance(self.kind, tuple) else (self.kind,)
        if "any" not in kinds and request.kind not in kinds:
            return False
        if self.method not in (None, request.method):
            return False
        if self.name not in (None, request.name):
            return False
        if self.reference not in (None, request.reference):
            return False
        return self.when is None or bool(self.when(request))

    def claim(self, request):
        """Does it act on this request?  Counts."""
        if self.cleared or not self.matches(request):
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.met.append(request)
        return True

    def apply(self, plan):
        plan.delay = max(plan.delay, self.delay)
        plan.released.append(self.released)
        if self.hold:
            plan.hold = self.released
        for key in ("rate", "status", "body", "flip_at", "redirect"):
            value = getattr(self, key)
            if value is not None:
                setattr(plan, key, value)
        plan.headers.update(self.headers)
        for how in ("reset", "stall", "truncate"):
            after = getattr(self, how + "_after")
            if after is not None:
                plan.stop_how, plan.stop_after = how, after
        plan.chunked |= self.chunked
        plan.ignore_range |= self.ignore_range
        plan.mute |= self.mute


class Faults:
    """All faults of one upstream, in the order they were added."""

    def __init__(self):
        self._lock = threading.Lock()
        self._all = []

    def add(self, **what):
        fault = Fault(**what)
        with self._lock:
            self._all.append(fault)
        return fault

    def clear(self):
        with self._lock:
            faults, self._all = self._all, []
        for fault in faults:
            fault.clear()

    def plan(self, request):
        plan = Plan()
        with self._lock:
            for fault in self._all:
                if fault.claim(request):
                    request.fault = fault
                    fault.apply(plan)
        return plan
