"""How long the phases of a stage take, measured always, recording or not.

The histograms are those of package omni/wire: the hub adds those of all replicas up.
"""

from __future__ import annotations

import bisect
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from kinetoscope import regions
from kinetoscope.platforms import Platform

# Upper bounds in seconds, as wire.DurationBounds has them.
BOUNDS: tuple[float, ...] = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

HANDOFF = "handoff"
PHASES = frozenset(
    {
        regions.PREFILL,
        regions.DECODE_STEP,
        regions.DENOISE_STEP,
        regions.TEXT_ENCODE,
        regions.VAE_DECODE,
        regions.VOCODE,
        HANDOFF,
    }
)


@dataclass
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * len(BOUNDS))
    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds
        if (at := bisect.bisect_left(BOUNDS, seconds)) < len(BOUNDS):
            self.counts[at] += 1

    def read(self) -> dict[str, Any]:
        total, buckets = 0, []
        for n in self.counts:
            total += n
            buckets.append(total)
        return {"buckets": buckets, "count": self.count, "sum_seconds": self.seconds}


class Durations:
    """The phases of one rank. Safe for concurrent use."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._lock = threading.Lock()
        self._by: dict[str, _Histogram] = {}

    def observe(self, phase: str, ns: int) -> None:
        """Count a phase that has ended and took ns nanoseconds; names that are no phase are ignored."""
        if phase in PHASES:
            with self._lock:
                self._by.setdefault(phase, _Histogram()).add(max(0, ns) / 1e9)

    def mark(self) -> Any:
        """This point of the device's work, for elapsed; nothing waits for it."""
        event = self._platform.event()
        return time.monotonic_ns() if event is None else event

    def elapsed(self, begin: Any, end: Any) -> int:
        """Nanoseconds between two marks, of work that the device has done by now."""
        return int(end - begin if isinstance(end, int) else begin.elapsed_time(end) * 1e6)

    def read(self) -> dict[str, Any]:
        """The histograms by phase; phases that never ran are left out."""
        with self._lock:
            return {phase: h.read() for phase, h in self._by.items()}
