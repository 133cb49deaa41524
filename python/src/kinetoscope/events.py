"""Regions as the events of a Chrome trace, as JSON text.

Times are JSON too, as the trace at hand writes them: microseconds since its base as a
number, which no double would hold exactly, or as text.
"""

from __future__ import annotations

import json

from kinetoscope.regions import Logged

to_json = json.JSONEncoder(ensure_ascii=False).encode


def microseconds(ns: int) -> str:
    """Nanoseconds as a number of microseconds, exactly."""
    return f"{ns // 1000}.{ns % 1000:03d}"


def event(r: Logged, pid: int, at: str, *, begun: bool = False) -> str:
    """The region itself: a slice, an instant, or only its begin."""
    args = r.args if r.finished else r.args | {"finished": "false"}
    if begun:
        ph, dur = "B", ""
    elif r.instant:
        ph, dur = "i", ', "s": "t"'
    else:
        ph, dur = "X", f', "dur": {microseconds(r.end - r.start)}'
    return (
        f'{{"ph": "{ph}", "cat": "user_annotation", "name": {to_json(r.name)}, "pid": {pid}, "tid": {r.tid}, '
        f'"ts": {at}{dur}, "args": {to_json(args)}}}'
    )


def flows(r: Logged, pid: int, at: str) -> list[str]:
    """The arrows that leave or reach the region, at a time inside it."""
    out: list[str] = []
    for ph, number, bind in (("s", r.flow_out, ""), ("f", r.flow_in, ', "bp": "e"')):
        if number:
            out.append(
                f'{{"ph": "{ph}", "id": {number}, "cat": "handoff", "name": "handoff", "pid": {pid}, '
                f'"tid": {r.tid}, "ts": {at}{bind}}}'
            )
    return out
