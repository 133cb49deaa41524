"""Regions: named spans of a program that appear in the trace with their arguments.

`annotate("decode_step", step=7, requests="a,b")` is a `torch.profiler.record_function`
whose arguments reach the trace: torch drops them, so a log keeps them beside the profiler
and export writes them into the trace's own events. While nothing records and no past is
kept, a region costs two looks at a variable.

keep_past keeps the newest regions of the process always: the flight recorder of a process
whose operators torch records only while it is told to.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from kinetoscope import protocol

# Names that the analyses know (trace/names.go).
PREFILL, DECODE_STEP, DENOISE_STEP = "prefill", "decode_step", "denoise_step"
TEXT_ENCODE, VAE_DECODE, VOCODE = "text_encode", "vae_decode", "vocode"
HANDOFF_SEND, HANDOFF_RECV = "handoff.send", "handoff.recv"
WAIT, SCHEDULE, SAMPLE = "wait", "schedule", "sample"
REQUEST = "request"  # an instant: a request arrives in a stage

# Bounds what one recording keeps of regions: some 700 bytes each. More are dropped and counted.
MAX_REGIONS = 1_000_000
# What one region takes in memory with the arguments of a step of eight requests, rounded up.
REGION_BYTES = 768
# The past that a process keeps unless told, as native ranks do (deploy.DefaultFlightMB).
DEFAULT_PAST_MB = 16

Value = str | int | float | bool


@dataclass(slots=True)
class Logged:
    """One region that ended, or went on when it was looked at: Unix ns, the thread's id as the
    system has it."""

    tid: int
    start: int
    end: int
    name: str
    args: dict[str, Value]
    flow_in: int = 0
    flow_out: int = 0
    finished: bool = True
    instant: bool = False

    @property
    def key(self) -> tuple[int, int, str]:
        """What no other region of the process shares."""
        return (self.tid, self.start, self.name)


@dataclass
class RegionLog:
    """The regions of one recording. Appending is safe from many threads.

    sample is sample_requests: only what belongs to one request in so many is kept, and what
    belongs to none. told says whether torch hears of the regions and shows them in its trace.
    """

    limit: int = MAX_REGIONS
    sample: int = 0
    told: bool = True
    regions: list[Logged] = field(default_factory=list)
    dropped: int = 0

    def add(self, r: Logged) -> None:
        """Keep r, or count it as dropped."""
        if len(self.regions) < self.limit:
            self.regions.append(r)
        else:
            self.dropped += 1


_active: RegionLog | None = None
_past: deque[Logged] | None = None
_past_begun = 0  # Unix ns
_lock = threading.Lock()
# Regions that have begun and not ended, of all threads: what a past must show of a step that hangs.
_open: set[Region] = set()


class _Thread(threading.local):
    muted: RegionLog | None = None  # the recording that does not want what this thread does now


_thread = _Thread()


def activate(log: RegionLog | None) -> None:
    """Make log the one that regions go to from now on; None for nowhere."""
    global _active
    with _lock:
        _active = log
    if _thread.muted is not None:  # a recording ended and this one began inside one step
        _mute(None)


def recording() -> bool:
    """Whether a recording or the past wants regions now; saves the making of expensive arguments."""
    return _active is not None or _past is not None


def keep_past(mb: int = DEFAULT_PAST_MB) -> None:
    """Keep the newest regions in some mb MiB from now on; 0 keeps none."""
    global _past, _past_begun
    with _lock:
        if _past is None:
            _past_begun = protocol.now_ns()
        _past = deque(_past or (), maxlen=(mb << 20) // REGION_BYTES) if mb > 0 else None


def keeps_past() -> bool:
    """Whether there is a past to look at."""
    return _past is not None


def past_begins() -> int:
    """From when on the past is whole, Unix ns: what ended before is forgotten or was never kept."""
    kept = _past
    if kept is not None and len(kept) == kept.maxlen:
        return max(_past_begun, kept[0].end)
    return _past_begun


def past(since: int) -> list[Logged]:
    """The regions that reach into the time since (Unix ns), those still open with finished
    False, in order of their end."""
    now = protocol.now_ns()
    # Looked at first: what ends meanwhile is found below as well, and counts as ended.
    going = {r.key: r for r in (region.logged(now, finished=False) for region in unfinished())}
    kept = _past
    out = [] if kept is None else [r for r in kept.copy() if r.end >= since]
    for r in out:
        going.pop(r.key, None)
    return out + [r for r in going.values() if r.start]


def unfinished() -> list[Region]:
    """The regions that are open now, the oldest first."""
    return sorted(_open.copy(), key=lambda r: r.began)


def sampling() -> int:
    """The recording's sample_requests; 0 without a recording."""
    log = _active
    return log.sample if log is not None else 0


def only_if(wanted: bool) -> AbstractContextManager[None]:
    """Keep what this thread does inside out of the recording unless wanted: its regions and
    torch's operators. The past has it all the same."""
    return _NOTHING if wanted else _muted()


_NOTHING = nullcontext()


@contextmanager
def _muted() -> Iterator[None]:
    _mute(_active)
    try:
        yield
    finally:
        _mute(None)


@contextmanager
def no_operators() -> Iterator[None]:
    """Keep torch's operators inside out of the recording: how ranks agree what to do is not
    the model's work, and a rank that waits for it does nothing."""
    if _active is None or _thread.muted is not None:
        yield
        return
    _operators(False)
    try:
        yield
    finally:
        _operators(True)


def _mute(log: RegionLog | None) -> None:
    _thread.muted = log
    _operators(log is None)


def _operators(on: bool) -> None:
    from torch._C._autograd import _enable_record_function

    _enable_record_function(on)


class Region:
    """A span as a context manager. One that began before a recording is not in it."""

    __slots__ = ("_log", "_name", "_rf", "_tid", "args", "began", "flow_in", "flow_out")

    def __init__(self, name: str, args: dict[str, Value]) -> None:
        self._name, self.args = name, args
        self.flow_in = self.flow_out = 0
        self._log: RegionLog | None = None
        self._rf: AbstractContextManager[Any] | None = None
        self._tid = 0
        self.began = 0  # Unix ns; 0 while it is not open

    def __enter__(self) -> Region:
        self._log = _active if _active is not _thread.muted else None
        if self._log is None and _past is None:
            return self
        self._tid = threading.get_native_id()
        self.began = time.time_ns()
        _open.add(self)
        if self._log is not None and self._log.told:
            import torch

            rf: AbstractContextManager[Any] = torch.profiler.record_function(self._name)
            rf.__enter__()
            self._rf = rf
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.began:
            return
        if self._rf is not None:
            self._rf.__exit__(kind, error, trace)
        done = self.logged(protocol.now_ns())
        if self._log is not None:
            self._log.add(done)
        kept = _past
        if kept is not None:
            kept.append(done)
        _open.discard(self)
        self._log = self._rf = None
        self.began = 0

    def logged(self, end: int, *, finished: bool = True) -> Logged:
        """The region as it stands, with that end."""
        return Logged(
            self._tid, self.began, end, self._name, self.args, self.flow_in, self.flow_out, finished
        )

    def of(self, log: RegionLog) -> bool:
        """Whether the region goes to that log."""
        return self._log is log


def instant(name: str, **args: Value) -> None:
    """Note that something happens now: a mark in the trace with its arguments."""
    log = _active if _active is not _thread.muted else None
    kept = _past
    if log is None and kept is None:
        return
    now = protocol.now_ns()
    mark = Logged(threading.get_native_id(), now, now, name, args, instant=True)
    if log is not None:
        log.add(mark)
    if kept is not None:
        kept.append(mark)


def annotate(name: str, **args: Value) -> Region:
    """Return a region: `with annotate("prefill", requests="a,b", tokens=12): …`.

    Arguments may be added to `.args` until the region ends. Its `.flow_out` and `.flow_in`,
    if set until then, tie it to the region of another process with the same number on the
    other side, as an arrow on the timeline.
    """
    return Region(name, args)
