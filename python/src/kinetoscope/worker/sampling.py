"""Which requests a session with sample_requests records, as package omni/worker decides it.

Of requests with a W3C trace context those that it marks as sampled, of the others those
that their id chooses. Rank 0 knows the contexts; the other ranks learn of them with each plan.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping

from kinetoscope import regions, wire

# Far more requests than a stage holds at once; those beyond are decided by their id.
MAX_DECISIONS = 1 << 14

# https://www.w3.org/TR/trace-context/#traceparent-header. Version ff is none, and a later one
# than 00 may go on behind the flags.
_PARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?\Z"
)


def parse(traceparent: str) -> tuple[str, bool] | None:
    """The trace id of a traceparent and whether it is sampled; None if it is none."""
    m = _PARENT.match(traceparent)
    if m is None or (m[1] == "00" and m[4]):
        return None
    return m[2], bool(int(m[3], 16) & 1)


def sampled(requests: Iterable[str], decided: Mapping[str, bool]) -> bool:
    """Whether the recording, if there is one, is to show what is done for one of these requests."""
    every = regions.sampling()
    if every <= 1:
        return True
    return any(decided[r] if r in decided else wire.sampled(r, every) for r in requests)


class Decisions:
    """What trace contexts say of the requests in a stage. Safe for concurrent use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decided: dict[str, bool] = {}

    def note(self, request: str, traceparent: str) -> str:
        """Remember what a request came with; its trace id, "" if it came with none."""
        got = parse(traceparent)
        if got is None:
            return ""
        with self._lock:
            if len(self._decided) < MAX_DECISIONS:
                self._decided[request] = got[1]
        return got[0]

    def forget(self, request: str) -> None:
        """End what note began."""
        with self._lock:
            self._decided.pop(request, None)

    def of(self, requests: Iterable[str]) -> dict[str, bool]:
        """What is decided for requests, without those for which nothing is."""
        with self._lock:
            return {r: self._decided[r] for r in requests if r in self._decided}
