from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kinetoscope import ProfilerConfig, TorchProfiler, annotate, past, regions, wire
from kinetoscope import protocol as p
from kinetoscope.regions import Logged
from kinetoscope.worker.sampling import sampled

INFO = p.RankInfo("p", 1, 0, 2, stage_name="talker", world_size=4)


@pytest.fixture
def kept() -> Iterator[None]:
    regions.keep_past(1)
    yield
    regions.keep_past(0)


def eventually(f: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not f():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def look_back(tmp_path: Path, last_s: float = 60) -> dict[str, Any]:
    r = past.PastRecorder(int(last_s * 1e9), INFO, packed=False)
    r.prepare(tmp_path, tmp_path / "unused")
    r.open()
    (made,) = r.export().files
    doc: dict[str, Any] = json.loads(made.path.read_text())
    return doc


def named(doc: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [e for e in doc["traceEvents"] if e.get("name") == name]


def test_the_past_has_what_ended_and_what_goes_on(tmp_path: Path, kept: None) -> None:
    begun = time.time_ns()
    with annotate("decode_step", step=3, requests='a"b') as r:
        r.flow_out = 77
    regions.instant("request", request="b")
    with annotate("decode_step", step=4):
        doc = look_back(tmp_path)
    (arrival,) = named(doc, "request")
    assert (arrival["ph"], arrival["args"]) == ("i", {"request": "b"})
    first, second = named(doc, "decode_step")
    assert (first["args"], second["args"]) == (
        {"step": 3, "requests": 'a"b'},
        {"step": 4, "finished": "false"},
    )
    assert (doc["stage"], doc["distributedInfo"]["rank"], doc["distributedInfo"]["world_size"]) == (
        "talker",
        2,
        4,
    )
    (arrow,) = named(doc, "handoff")
    assert (arrow["ph"], arrow["id"], arrow["ts"]) == ("s", 77, first["ts"])
    (window,) = named(doc, "PyTorch Profiler (0)")
    # No longer than the past goes back.
    assert first["dur"] < window["dur"] < (time.time_ns() - begun) / 1000 + 1e6
    assert window["ts"] <= first["ts"] <= second["ts"]
    assert second["ts"] + second["dur"] <= window["ts"] + window["dur"] + 1e4


def test_times_are_exact_to_the_nanosecond() -> None:
    start = 1_790_000_000_123_456_789
    out = io.BytesIO()
    t = past.RegionTrace(out, {}, start, 1)
    late = start + 86_400_000_000_001
    t.add([Logged(1, start, start + 1, "a", {}), Logged(1, late, late + 3, "b", {})])
    t.window(start, late + 3)
    t.close("x")
    text = out.getvalue().decode()
    base = json.loads(text)["baseTimeNanoseconds"]
    for at in (start, late):
        us, ns = divmod(at - base, 1000)
        assert f'"ts": {us}.{ns:03d}' in text


def test_the_past_is_bounded_and_forgets_the_oldest() -> None:
    regions.keep_past(1)
    try:
        for i in range(3 * (1 << 20) // regions.REGION_BYTES):
            with annotate("x", step=i):
                pass
        got, begins = regions.past(0), regions.past_begins()
    finally:
        regions.keep_past(0)
    assert len(got) == (1 << 20) // regions.REGION_BYTES
    assert got[0].end == begins
    assert got[-1].args["step"] == 3 * (1 << 20) // regions.REGION_BYTES - 1
    assert not regions.keeps_past()


def test_a_past_taken_while_threads_work_has_each_region_once(kept: None) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with annotate("outer"), annotate("inner"):
                pass

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        for _ in range(50):
            got = regions.past(0)
            assert len({r.key for r in got}) == len(got)
            assert all(r.end >= r.start > 0 for r in got)
    finally:
        stop.set()
        for t in threads:
            t.join()


VICTIM = """
import sys, time
from pathlib import Path
from kinetoscope import ProfilerConfig, TorchProfiler, annotate
import torch
prof = TorchProfiler(ProfilerConfig(profiler="torch"), derive=False)
d = Path(sys.argv[1])
prof.prepare(d / "parts", d / "stage0_replica0_rank0.regions.json")
prof.open()
for i in range(5):
    with annotate("decode_step", step=i, requests="a") as r:
        r.flow_out = i + 1
        torch.ones(3)
with annotate("prefill", requests="b"), annotate("inner"):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_killed_process_leaves_its_steps(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", VICTIM, str(tmp_path)], stdout=subprocess.PIPE) as v:
        assert v.stdout is not None
        assert b"ready" in v.stdout.read(5)
        file = tmp_path / "stage0_replica0_rank0.regions.json"
        eventually(lambda: file.exists() and b'"inner"' in file.read_bytes())
        os.kill(v.pid, signal.SIGKILL)
    doc = json.loads(file.read_bytes() + b"]}")  # it is cut: readers mend that
    steps = named(doc, "decode_step")
    assert [s["args"]["step"] for s in steps] == [0, 1, 2, 3, 4]
    assert [(e["ph"], e["name"]) for e in doc["traceEvents"] if e["ph"] == "B"] == [
        ("B", "prefill"),
        ("B", "inner"),
    ]
    assert len(named(doc, "handoff")) == 5


def test_a_region_over_several_intervals_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "SPILL_INTERVAL_S", 0.001)
    log = regions.RegionLog()
    file = tmp_path / "r.json"
    spill = past.Spill(log, file, {})
    spill.start()
    regions.activate(log)
    n = 0
    try:
        with annotate("long", step=1) as r:
            eventually(lambda: file.exists() and b'"long"' in file.read_bytes())
            while n < 2000:
                with annotate("short"):
                    n += 1
            r.flow_in = 5
    finally:
        regions.activate(None)
        spill.stop()
    doc = json.loads(file.read_bytes() + b"]}")
    assert [e["ph"] for e in named(doc, "long")] == ["B"]
    assert sum(e["ph"] in "XB" for e in named(doc, "short")) == n
    assert sum(e["ph"] == "B" for e in doc["traceEvents"]) == sum(e["ph"] == "E" for e in doc["traceEvents"])
    assert [e["ph"] for e in named(doc, "handoff")] == ["f"]


def chosen(every: int) -> tuple[str, str]:
    """A request that sample_requests chooses and one that it does not."""
    ids = [f"r{i}" for i in range(100)]
    return next(i for i in ids if wire.sampled(i, every)), next(i for i in ids if not wire.sampled(i, every))


def test_sample_requests_keeps_others_out_of_the_recording_and_in_the_past(
    tmp_path: Path, kept: None
) -> None:
    yes, no = chosen(4)
    config = ProfilerConfig(profiler="torch", sample_requests=4, torch_profiler_with_memory=True)
    prof = TorchProfiler(config, derive=False)
    prof.prepare(tmp_path)
    prof.open()
    for i, requests in enumerate(([no], [yes, no], [no], [yes])):
        with (
            regions.only_if(sampled(requests, {})),
            annotate("decode_step", step=i, requests=",".join(requests)),
        ):
            torch.ones(3)
    with annotate("schedule"):
        torch.zeros(3)
    prof.close()
    out = prof.export()
    assert [n for n in out.notes if "no stacks" in n]
    doc = json.loads(gzip.decompress(out.files[0].path.read_bytes()))
    assert [e["args"]["step"] for e in named(doc, "decode_step")] == [1, 3]
    assert len(named(doc, "aten::ones")) == 2
    assert len(named(doc, "schedule")) == len(named(doc, "aten::zeros")) == 1
    assert len([r for r in regions.past(0) if r.name == "decode_step"]) == 4


def test_a_recording_that_begins_inside_a_muted_step_hears_it(tmp_path: Path) -> None:
    _, no = chosen(4)
    first = regions.RegionLog(sample=4)
    regions.activate(first)
    with regions.only_if(sampled([no], {})):
        regions.activate(None)
        prof = TorchProfiler(ProfilerConfig(profiler="torch", torch_profiler_use_gzip=False), derive=False)
        prof.prepare(tmp_path)
        prof.open()
        with annotate("mine"):
            torch.ones(3)
        prof.close()
    doc = json.loads(prof.export().files[0].path.read_text())
    assert len(named(doc, "mine")) == len(named(doc, "aten::ones")) == 1
    assert first.regions == []


def test_sampling_is_that_of_the_native_ranks() -> None:
    # From omni/wire, Sampled with every 4 for r0 to r15.
    assert [i for i in range(16) if wire.sampled(f"r{i}", 4)] == [4, 9, 15]


def test_a_past_without_a_region_is_a_trace_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    now = 1_760_000_000_000_000_000
    with path.open("wb") as to:
        assert past.write_regions(to, {}, [], (now - 1000, now), "trace.json") == 0
    names = [e["name"] for e in json.loads(path.read_text())["traceEvents"] if e["ph"] == "X"]
    assert names == ["PyTorch Profiler (0)"]
