"""Write what the region log knows into a trace that torch exported.

One pass over the text, in pieces: arguments go into the region's own event, found by
thread, name and time; a region that torch did not see (of a thread that it does not
record) becomes an event of its own; flows become arrows of category "handoff".
"""

from __future__ import annotations

import bisect
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from kinetoscope import events
from kinetoscope.regions import Logged, RegionLog

_PIECE = 4 << 20
# How far from either end of the file its frame is looked for; metadata of hundreds of ranks is less.
_EDGE = 1 << 20
_EVENT_END = b"\n  },"
# torch's clock and the system's differ by some microseconds; regions of one name on one
# thread are further apart than this.
_SLACK_NS = 20_000

_ANNOTATION = re.compile(
    rb'"cat":\s*"user_annotation",\s*"name":\s*"((?:[^"\\]|\\.)*)",\s*"pid":\s*(\d+),\s*"tid":\s*(\d+),'
    rb'\s*"ts":\s*(\d+)(?:\.(\d{1,3}))?,\s*"dur":\s*[\d.]+\s*,\s*"args":\s*\{'
)
_BASE = re.compile(rb'"baseTimeNanoseconds":\s*(\d+)\s*[,}]')
# The end of the events: behind the mark that Kineto writes last, else before the file's last members.
_LAST = re.compile(rb'"Record Window End"[^{}]*\}\s*(\])')
_TAIL = re.compile(rb'(\]),\s*"traceName"')
_SLICE = re.compile(rb'"ph":\s*"X"')


@dataclass
class Merged:
    """What a pass found."""

    slices: int = 0  # complete events in the trace
    matched: int = 0  # regions whose event got its arguments
    added: int = 0  # regions that became events of their own
    note: str = ""  # what is missing, for people


class _Index:
    """The regions by thread and name, in order of their start."""

    def __init__(self, regions: list[Logged]) -> None:
        self.by: dict[tuple[int, str], list[int]] = defaultdict(list)
        self.regions = sorted(regions, key=lambda r: r.start)
        self.used = [False] * len(regions)
        self.seen: dict[int, int] = {}  # where torch's own event of a region begins
        for i, r in enumerate(self.regions):
            self.by[(r.tid, r.name)].append(i)
        self.starts = {k: [self.regions[i].start for i in v] for k, v in self.by.items()}

    def find(self, tid: int, name: str, ns: int) -> Logged | None:
        key = (tid, name)
        at = bisect.bisect_right(self.starts.get(key, ()), ns + _SLACK_NS) - 1
        if at < 0:
            return None
        i = self.by[key][at]
        if self.used[i] or ns > self.regions[i].end + _SLACK_NS:
            return None
        self.used[i] = True
        self.seen[i] = ns
        return self.regions[i]


def merge(src: IO[bytes], log: RegionLog, pid: int) -> tuple[Merged, Iterator[bytes]]:
    """Return the result, complete once the pieces are used up, and the pieces of the new text."""
    out = Merged()
    return out, _pieces(src, _Index(log.regions), pid, out)


def _pieces(src: IO[bytes], index: _Index, pid: int, out: Merged) -> Iterator[bytes]:
    base, end = _frame(src)
    if base is None or end is None:
        out.note = "the trace's end or its base time was not found: what regions know is missing"
        while text := src.read(_PIECE):
            out.slices += len(_SLICE.findall(text))
            yield text
        return
    rest, left = b"", end
    while left > 0 and (data := src.read(min(_PIECE, left))):
        left -= len(data)
        text = rest + data
        cut = text.rfind(_EVENT_END)
        if cut < 0:  # an event longer than a piece
            rest = text
            continue
        cut += len(_EVENT_END)
        rest = text[cut:]
        yield _arguments(text[:cut], index, base, out)
    yield _arguments(rest, index, base, out)
    yield _extra(index, base, pid, out)
    while text := src.read(_PIECE):
        yield text


def _frame(src: IO[bytes]) -> tuple[int | None, int | None]:
    """The base time, which stands before or behind the events, and where the events end."""
    head = src.read(_EDGE)
    tail_at = max(0, src.seek(0, io.SEEK_END) - _EDGE)
    src.seek(tail_at)
    tail = src.read()
    src.seek(0)
    m = _BASE.search(head) or _BASE.search(tail)
    ends = list(_LAST.finditer(tail)) or list(_TAIL.finditer(tail))
    return int(m.group(1)) if m else None, tail_at + ends[-1].start(1) if ends else None


def _arguments(text: bytes, index: _Index, base: int, out: Merged) -> bytes:
    out.slices += len(_SLICE.findall(text))
    if not index.regions:
        return text

    def add(m: re.Match[bytes]) -> bytes:
        ns = base + int(m.group(4)) * 1000 + int((m.group(5) or b"0").ljust(3, b"0"))
        name = m.group(1).decode("utf-8", "replace")
        region = index.find(int(m.group(3)), name, ns)
        if region is None:
            return m.group(0)
        out.matched += 1
        return m.group(0) + (_members(region.args) if region.args else b"")

    return _ANNOTATION.sub(add, text)


def _members(args: dict[str, Any]) -> bytes:
    """The arguments as members of an object that goes on."""
    return b" " + json.dumps(args)[1:-1].encode() + b","


def _extra(index: _Index, base: int, pid: int, out: Merged) -> bytes:
    parts: list[str] = []
    for i, r in enumerate(index.regions):
        if not index.used[i]:
            out.added += not r.instant
            parts.append(events.event(r, pid, events.microseconds(r.start - base)))
        parts += events.flows(r, pid, events.microseconds(index.seen.get(i, r.start) - base))
    return ("," + ",\n  ".join(parts)).encode() if parts else b""
