from __future__ import annotations

import io
import json
import random
from typing import Any

import pytest

from kinetoscope import merge
from kinetoscope.regions import Logged, RegionLog

BASE = 1_790_000_000_000_000_000


def kineto(events: list[dict[str, Any]]) -> bytes:
    """A trace laid out as Kineto writes it."""
    parts = []
    for e in events:
        lines = [f'    "{k}": {json.dumps(v)}' for k, v in e.items() if k != "args"]
        args = json.dumps(e["args"])[1:-1]
        parts.append("  {\n" + ",\n".join(lines) + '\n    ,\n    "args": {\n      ' + args + "\n    }\n  }")
    head = f'{{\n  "schemaVersion": 1,\n  "baseTimeNanoseconds": {BASE},\n  "traceEvents": [\n'
    return (head + ",\n".join(parts) + '\n  ],"traceName": "x" }').encode()


def event(name: str, tid: int, ts: float, dur: float = 5.0, cat: str = "user_annotation") -> dict[str, Any]:
    return {
        "ph": "X",
        "cat": cat,
        "name": name,
        "pid": 9,
        "tid": tid,
        "ts": ts,
        "dur": dur,
        "args": {"Ev Idx": 1},
    }


def run(text: bytes, log: RegionLog) -> tuple[merge.Merged, dict[str, Any]]:
    result, pieces = merge.merge(io.BytesIO(text), log, 9)
    return result, json.loads(b"".join(pieces))


def test_arguments_reach_their_own_events() -> None:
    log = RegionLog()
    log.add(Logged(7, BASE + 9_000, BASE + 16_000, "step", {"step": 0}))
    log.add(Logged(7, BASE + 99_000, BASE + 106_000, "step", {"step": 1, "requests": 'a"b'}))
    log.add(Logged(8, BASE + 9_000, BASE + 16_000, "step", {"step": 2}))
    got, doc = run(
        kineto(
            [
                event("step", 7, 10.0),
                event("step", 7, 100.0),
                event("step", 8, 10.0),
                event("step", 7, 500.0),
                event("aten::mm", 7, 11.0, cat="cpu_op"),
            ]
        ),
        log,
    )
    assert (got.slices, got.matched, got.added, got.note) == (5, 3, 0, "")
    args = [e["args"] for e in doc["traceEvents"]]
    assert args[0] == {"step": 0, "Ev Idx": 1}
    assert args[1] == {"step": 1, "requests": 'a"b', "Ev Idx": 1}
    assert args[2] == {"step": 2, "Ev Idx": 1}
    assert args[3] == {"Ev Idx": 1}


def test_regions_of_other_threads_and_flows_are_added() -> None:
    log = RegionLog()
    log.add(Logged(7, BASE + 9_000, BASE + 16_000, "handoff.send", {"to_stage": 1}, flow_out=5))
    log.add(Logged(3, BASE + 20_123, BASE + 21_000, "handoff.recv", {"request": "r"}, flow_in=6))
    got, doc = run(kineto([event("handoff.send", 7, 10.0)]), log)
    assert (got.matched, got.added) == (1, 1)
    added = doc["traceEvents"][1:]
    flows = {e["ph"]: e for e in added if e["ph"] in "sf"}
    assert flows["s"]["id"] == 5
    assert flows["s"]["ts"] == 10.0  # where torch's own event begins
    assert flows["f"]["id"] == 6
    recv = next(e for e in added if e["ph"] == "X")
    assert (recv["tid"], recv["ts"], recv["dur"], recv["args"]) == (3, 20.123, 0.877, {"request": "r"})


@pytest.mark.parametrize("piece", [64, 333, 1000, 1 << 20])
def test_pieces_do_not_matter(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    log, events, at = RegionLog(), [], 0
    for i in range(200):
        at += rng.randrange(60_000, 90_000)
        log.add(Logged(7, BASE + at, BASE + at + 20_000, "s", {"step": i}))
        events.append(event("s", 7, (at + 1000) / 1000, 15.0))
        events.append(event("op " + "x" * rng.randrange(400), 7, at / 1000, cat="cpu_op"))
    monkeypatch.setattr(merge, "_PIECE", piece)
    got, doc = run(kineto(events), log)
    assert (got.slices, got.matched) == (400, 200)
    steps = [e["args"]["step"] for e in doc["traceEvents"] if e["name"] == "s"]
    assert steps == list(range(200))


def test_a_trace_of_another_shape_stays_as_it_is_and_says_so() -> None:
    log = RegionLog()
    log.add(Logged(7, BASE, BASE + 1, "s", {}))
    got, doc = run(b'{"traceEvents": []}', log)
    assert doc == {"traceEvents": []}
    assert "not found" in got.note


def test_the_log_is_bounded_and_counts_what_it_drops() -> None:
    log = RegionLog(limit=2)
    for i in range(5):
        log.add(Logged(1, i, i, "x", {}))
    assert (len(log.regions), log.dropped) == (2, 3)


@pytest.mark.parametrize("size", [10, 60_000])
def test_older_torch_says_its_base_time_behind_the_events(size: int) -> None:
    log = RegionLog()
    log.add(Logged(7, BASE + 9_000, BASE + 16_000, "step", {"step": 0}))
    log.add(Logged(8, BASE + 20_000, BASE + 26_000, "of another thread", {}))
    events = [event("step", 7, 10.0)] + [event("aten::mm", 7, 11.0 + i, cat="cpu_op") for i in range(size)]
    text = kineto([*events, event("last", 7, 1e6)]).decode()
    head, _, tail = text.partition('  "baseTimeNanoseconds"')
    _, _, rest = tail.partition(",\n")
    mark = ',\n  {\n    "name": "Record Window End", "ph": "i", "s": "g", '
    mark += '"pid": "", "tid": "", "ts": 5.0\n  }\n  ]'
    text = head + rest[: rest.rindex("]")].rstrip() + mark
    text += ',\n  "ERROR": ["no card"],\n  "pg_config": [{"a": 1\n  },\n  {"b": 2}],\n  "traceName": "x",\n'
    text += f'  "baseTimeNanoseconds": {BASE}\n}}'
    json.loads(text)
    got, doc = run(text.encode(), log)
    assert (got.matched, got.added, got.note) == (1, 1, "")
    assert doc["traceEvents"][0]["args"]["step"] == 0
    assert doc["traceEvents"][-1]["name"] == "of another thread"
    assert (doc["ERROR"], len(doc["traceEvents"])) == (["no card"], size + 4)
