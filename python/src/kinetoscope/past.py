"""Traces of regions alone: the flight recorder's, and what a killed process leaves.

torch keeps what it records in memory until the export. So a recording process also writes
its regions to a file as they end (Spill): if it is killed, its steps up to then are there.
And a process that records nothing keeps its newest regions (regions.keep_past), of which
PastRecorder makes a trace.
"""

from __future__ import annotations

import bisect
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from kinetoscope import events, regions
from kinetoscope.exported import Exported, Made, create
from kinetoscope.protocol import RankInfo, now_ns
from kinetoscope.regions import Logged, RegionLog

log = logging.getLogger("kinetoscope.past")

# What a killed process may lose; writing the regions of a quarter of a second takes milliseconds.
SPILL_INTERVAL_S = 0.25


def header(info: RankInfo) -> dict[str, Any]:
    """What a trace's envelope says of its rank."""
    return {
        "stage_id": info.stage,
        "stage": info.stage_name,
        "replica": info.replica,
        "pipeline": info.pipeline,
        "incarnation": info.incarnation,
        # HTA and others know a rank by it.
        "distributedInfo": {"backend": "none", "rank": info.rank, "world_size": info.world_size},
    }


class RegionTrace:
    """Writes regions as a Kineto trace. Without close the file is cut, which readers mend.

    Nothing in it may begin more than a second before first (Unix ns).
    """

    def __init__(self, to: IO[bytes], head: dict[str, Any], first: int, pid: int) -> None:
        # Whole seconds before the first event: no time is 0, and none is too long for a double.
        self._base = (first // 1_000_000_000 - 2) * 1_000_000_000
        self._to, self._pid, self._first = to, pid, True
        self.slices = 0
        full = {"schemaVersion": 1, "baseTimeNanoseconds": self._base, "displayTimeUnit": "ms"} | head
        to.write(events.to_json(full)[:-1].encode() + b', "traceEvents": [')
        names = [("process_name", 0, "python")]
        names += [("thread_name", t.native_id or 0, t.name) for t in threading.enumerate()]
        for what, tid, name in names:
            row = {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
            self._write(events.to_json(row))

    def _write(self, *some: str) -> None:
        for e in some:
            self._to.write((b"\n" if self._first else b",\n") + e.encode())
            self._first = False

    def _at(self, ns: int) -> str:
        return events.microseconds(ns - self._base)

    def add(self, ended: Iterable[Logged]) -> None:
        """Write whole regions and the arrows at their ends."""
        for r in ended:
            self.slices += not r.instant
            at = self._at(r.start)
            self._write(events.event(r, self._pid, at), *events.flows(r, self._pid, at))

    def begin(self, r: Logged) -> None:
        """Write that a region has begun; end must follow, or the region lasts to the file's end."""
        self.slices += 1
        self._write(events.event(r, self._pid, self._at(r.start), begun=True))

    def end(self, r: Logged) -> None:
        """End the region that was begun last on its thread."""
        end = f'{{"ph": "E", "pid": {self._pid}, "tid": {r.tid}, "ts": {self._at(r.end)}}}'
        self._write(end, *events.flows(r, self._pid, self._at(r.start)))

    def window(self, start: int, end: int) -> None:
        """Say from when to when it was recorded; events are best written in order of their begin."""
        span = '{"ph": "X", "cat": "Trace", "pid": "Spans", "tid": "PyTorch Profiler"'
        span += ', "name": "PyTorch Profiler (0)", "args": {"Op count": 0}'
        self._write(f'{span}, "ts": {self._at(start)}, "dur": {events.microseconds(max(0, end - start))}}}')

    def close(self, name: str) -> None:
        """Complete the file's text."""
        self._to.write(b'\n], "traceName": ' + events.to_json(name).encode() + b"}\n")


def write_regions(
    to: IO[bytes], head: dict[str, Any], ended: list[Logged], window: tuple[int, int], name: str
) -> int:
    """Write a whole trace of regions, recorded in window (Unix ns), and return its slices."""
    ended = sorted(ended, key=lambda r: r.start)
    out = RegionTrace(to, head, min([window[0], *(r.start for r in ended[:1])]), os.getpid())
    inside = bisect.bisect_left(ended, window[0], key=lambda r: r.start)
    out.add(ended[:inside])
    out.window(*window)
    out.add(ended[inside:])
    out.close(name)
    return out.slices


class PastRecorder:
    """A capture's recorder that looks back: open takes the regions of the last ns nanoseconds,
    or of less if the past does not reach back so far."""

    def __init__(self, last_ns: int, info: RankInfo, *, packed: bool) -> None:
        self._last, self._info, self._packed = last_ns, info, packed
        self._dir: Path | None = None
        self._regions: list[Logged] = []
        self._window = (0, 0)

    def prepare(self, directory: Path, spill: Path) -> None:
        """Make the directory; there is nothing to spill."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._dir = directory

    def warm(self) -> None:
        """There is nothing to warm up."""

    def open(self) -> None:
        """Take the past at this instant."""
        now = now_ns()
        since = max(now - self._last, regions.past_begins())
        self._window = (since, now)
        self._regions = regions.past(since)

    def close(self) -> None:
        """It was over when it began."""

    def discard(self) -> None:
        """Give up what was never opened."""

    def export(self, final: Callable[[str], Path] | None = None) -> Exported:
        """Write the trace; final renames it when it is complete."""
        assert self._dir is not None
        name = "trace.json.gz" if self._packed else "trace.json"
        part = self._dir / (name + ".part")
        with create(part) as to:
            slices = write_regions(to, header(self._info), self._regions, self._window, name)
        path = final(name) if final is not None else self._dir / name
        os.replace(part, path)
        return Exported([Made(name, "trace", path)], slices=slices)

    def release(self) -> None:
        """Give the regions back."""
        self._regions = []


class Spill:
    """Writes the regions of a recording to a file as they end, from a thread of its own."""

    def __init__(self, source: RegionLog, path: Path, head: dict[str, Any]) -> None:
        self._log, self._path, self._head = source, path, head
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kinetoscope-spill", daemon=True)

    def start(self) -> None:
        """Begin with an empty file."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end the thread. The file stays."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._path.open("wb") as to:
                self._write(to)
        except OSError as e:
            log.warning("regions are not kept for the case of a crash: %s: %s", self._path, e)

    def _write(self, to: IO[bytes]) -> None:
        out = RegionTrace(to, self._head, now_ns(), os.getpid())
        written, last = 0, False
        begun: set[tuple[int, int, str]] = set()
        while not last:
            last = self._stop.wait(SPILL_INTERVAL_S)
            ended = self._log.regions[written:]
            written += len(ended)
            for r in ended:
                if r.key in begun:
                    begun.discard(r.key)
                    out.end(r)
                else:
                    out.add([r])
            known = begun | {r.key for r in ended}
            for region in regions.unfinished():
                r = region.logged(0)
                if region.of(self._log) and r.key not in known:
                    begun.add(r.key)
                    out.begin(r)
            to.flush()
