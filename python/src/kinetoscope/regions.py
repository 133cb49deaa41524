"""Regions: named spans of a program that appear in the trace with their arguments.

`annotate("decode_step", step=7, requests="a,b")` is a `torch.profiler.record_function`
whose arguments reach the trace: torch drops them, so a log keeps them beside the profiler
and export writes them into the trace's own events. While nothing records, a region costs
one look at a variable.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from kinetoscope import protocol

# Names that the analyses know (trace/names.go).
PREFILL, DECODE_STEP, DENOISE_STEP = "prefill", "decode_step", "denoise_step"
TEXT_ENCODE, VAE_DECODE, VOCODE = "text_encode", "vae_decode", "vocode"
HANDOFF_SEND, HANDOFF_RECV = "handoff.send", "handoff.recv"
WAIT, SCHEDULE, SAMPLE = "wait", "schedule", "sample"

# Bounds what one recording keeps of regions: some 300 bytes each. More are dropped and counted.
MAX_REGIONS = 1_000_000

Value = str | int | float | bool


@dataclass
class Logged:
    """One region that ended: Unix ns, the thread's id as the system has it."""

    tid: int
    start: int
    end: int
    name: str
    args: dict[str, Value]
    flow_in: int = 0
    flow_out: int = 0


@dataclass
class RegionLog:
    """The regions of one recording. Appending is safe from many threads."""

    limit: int = MAX_REGIONS
    regions: list[Logged] = field(default_factory=list)
    dropped: int = 0

    def add(self, r: Logged) -> None:
        """Keep r, or count it as dropped."""
        if len(self.regions) < self.limit:
            self.regions.append(r)
        else:
            self.dropped += 1


_active: RegionLog | None = None
_lock = threading.Lock()


def activate(log: RegionLog | None) -> None:
    """Make log the one that regions go to from now on; None for nowhere."""
    global _active
    with _lock:
        _active = log


def recording() -> bool:
    """Whether regions are recorded now; saves the making of expensive arguments."""
    return _active is not None


class Region:
    """A span as a context manager. One that began before a recording is not in it."""

    __slots__ = ("_log", "_name", "_rf", "_start", "args", "flow_in", "flow_out")

    def __init__(self, name: str, args: dict[str, Value]) -> None:
        self._name, self.args = name, args
        self.flow_in = self.flow_out = 0
        self._log: RegionLog | None = None
        self._rf: AbstractContextManager[Any] | None = None
        self._start = 0

    def __enter__(self) -> Region:
        self._log = _active
        if self._log is not None:
            import torch

            self._start = time.time_ns()
            rf: AbstractContextManager[Any] = torch.profiler.record_function(self._name)
            rf.__enter__()
            self._rf = rf
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log is None:
            return
        if self._rf is not None:
            self._rf.__exit__(kind, error, trace)
        self._log.add(
            Logged(
                threading.get_native_id(),
                self._start,
                protocol.now_ns(),
                self._name,
                self.args,
                self.flow_in,
                self.flow_out,
            )
        )
        self._log = self._rf = None


def annotate(name: str, **args: Value) -> Region:
    """Return a region: `with annotate("prefill", requests="a,b", tokens=12): …`.

    Arguments may be added to `.args` until the region ends. Its `.flow_out` and `.flow_in`,
    if set until then, tie it to the region of another process with the same number on the
    other side, as an arrow on the timeline.
    """
    return Region(name, args)
