from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from kinetoscope import ProfilerConfig, TorchProfiler, annotate, artifacts, regions
from kinetoscope.exported import Exported
from kinetoscope.profiler import can_record_all_threads
from kinetoscope.protocol import RankInfo

HAS_CARD = torch.cuda.is_available()


def record(
    tmp: Path, *, all_threads: bool = False, derive: bool = True, **fields: Any
) -> tuple[Exported, dict[str, Any]]:
    names = {k if k in ("profiler", "iteration") else f"torch_profiler_{k}": v for k, v in fields.items()}
    c = ProfilerConfig.from_dict({"profiler": "torch"} | names)
    info = RankInfo("p", 2, 0, 1, stage_name="decoder", world_size=4)
    prof = TorchProfiler(c, info=info, all_threads=all_threads, derive=derive)
    prof.prepare(tmp)
    prof.warm()
    layer = torch.nn.Linear(16, 16).to("cuda" if HAS_CARD else "cpu")
    prof.open()
    with torch.inference_mode():
        for i in range(3):
            with annotate("decode_step", step=i, requests="a,b"):
                layer(torch.randn(4, 16, device=layer.weight.device))
    other = threading.Thread(target=_elsewhere)
    other.start()
    other.join()
    prof.close()
    out = prof.export()
    path = next(f.path for f in out.files if f.kind == "trace")
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return out, json.loads(text)


def _elsewhere() -> None:
    with annotate("handoff.recv", request="a"):
        torch.ones(3).sum()


def events(doc: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [e for e in doc["traceEvents"] if e.get("name") == name and e["ph"] == "X"]


def test_everything_on(tmp_path: Path) -> None:
    out, doc = record(tmp_path, with_flops=True, record_shapes=True, with_memory=True, execution_trace=True)
    got = {f.name: f.kind for f in out.files}
    want = {
        "trace.json.gz": "trace",
        "profiler_out.txt": "table",
        "stacks_cpu.txt": "stacks",
        "ops.xlsx": "ops",
        "memory_timeline.json.gz": "memory",
        "execution_trace.json": "execution_trace",
    }
    assert want.items() <= got.items()
    assert out.notes == []
    # Nothing half-made is left; torch 2.6 makes a directory for the code of compiled kernels.
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith("_resources")) == sorted(got)
    assert (doc["stage_id"], doc["stage"], doc["replica"]) == (2, "decoder", 0)
    assert doc["distributedInfo"]["rank"] == 1
    assert doc["distributedInfo"]["world_size"] == 4
    steps = events(doc, "decode_step")
    assert [s["args"]["step"] for s in steps] == [0, 1, 2]
    assert {s["args"]["requests"] for s in steps} == {"a,b"}
    assert out.slices == sum(e["ph"] == "X" for e in doc["traceEvents"])
    mm = events(doc, "aten::addmm")[0]
    assert mm["args"]["Input Dims"][1] == [4, 16]
    assert any(e.get("cat") == "python_function" for e in doc["traceEvents"])
    assert any(e.get("name") == "[memory]" for e in doc["traceEvents"])
    assert "decode_step" in (tmp_path / "profiler_out.txt").read_text()
    for line in (tmp_path / "stacks_cpu.txt").read_text().splitlines():
        frames, _, us = line.rpartition(" ")
        assert frames
        assert int(us) > 0
    et = json.loads((tmp_path / "execution_trace.json").read_text())
    assert any(n["name"] == "aten::addmm" for n in et["nodes"])


def test_the_workbook_has_three_sheets_and_their_columns(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    record(tmp_path, record_shapes=True)
    book = openpyxl.load_workbook(tmp_path / "ops.xlsx")
    assert book.sheetnames == ["summary", "by_shape", "by_stack"]
    for sheet in book:
        rows = list(sheet.values)
        assert rows[0] == artifacts.COLUMNS
        assert len(rows) > 1
        assert sheet.freeze_panes == "A2"
        assert sheet.auto_filter.ref
    assert any("[4, 16]" in str(r[16]) for r in book["by_shape"].values)


def test_defaults_off(tmp_path: Path) -> None:
    out, doc = record(tmp_path, with_stack=False, use_gzip=False, dump_cuda_time_total=False, derive=False)
    assert [f.name for f in out.files] == ["trace.json"]
    assert len(events(doc, "decode_step")) == 3
    assert not any(e.get("cat") == "python_function" for e in doc["traceEvents"])
    assert "Input Dims" not in events(doc, "aten::addmm")[0]["args"]


@pytest.mark.skipif(not can_record_all_threads(), reason="this torch records one thread alone")
def test_one_thread_or_all(tmp_path: Path) -> None:
    _, one = record(tmp_path / "one", with_stack=False, derive=False)
    _, all_ = record(tmp_path / "all", with_stack=False, derive=False, all_threads=True)
    assert len(events(one, "aten::ones")) == 0
    assert len(events(all_, "aten::ones")) == 1
    # The region of the other thread is there either way.
    assert [e["args"]["request"] for e in events(one, "handoff.recv")] == ["a"]
    assert [e["args"]["request"] for e in events(all_, "handoff.recv")] == ["a"]


def test_a_second_recording_holds_its_own_events_only(tmp_path: Path) -> None:
    for i in range(2):
        _, doc = record(tmp_path / str(i), with_stack=False, derive=False)
        assert len(events(doc, "decode_step")) == 3


def test_given_up_before_it_opened(tmp_path: Path) -> None:
    prof = TorchProfiler(ProfilerConfig(profiler="torch"))
    prof.prepare(tmp_path / "a")
    prof.warm()
    prof.discard()
    _, doc = record(tmp_path / "b", with_stack=False, derive=False)  # the next is not harmed
    assert len(events(doc, "decode_step")) == 3


def test_regions_cost_nothing_while_nothing_records() -> None:
    assert not regions.recording()
    r = annotate("x", a=1)
    with r:
        assert r._log is None


def test_a_region_that_began_before_is_not_in_it(tmp_path: Path) -> None:
    prof = TorchProfiler(ProfilerConfig(profiler="torch", torch_profiler_with_stack=False), derive=False)
    prof.prepare(tmp_path)
    with annotate("early"):
        prof.open()
    with annotate("inside"):
        pass
    late = annotate("late")
    late.__enter__()
    prof.close()
    late.__exit__(None, None, None)
    out = prof.export()
    doc = json.loads(gzip.decompress(out.files[0].path.read_bytes()))
    assert not events(doc, "early")
    assert len(events(doc, "inside")) == 1


def test_a_side_file_that_fails_is_a_note_and_the_trace_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(artifacts, "write_table", broken)
    out, _ = record(tmp_path)
    assert any("profiler_out.txt" in n and "disk on fire" in n for n in out.notes)
    assert {"trace", "stacks"} <= {f.kind for f in out.files}


@pytest.mark.skipif(not HAS_CARD, reason="needs a CUDA card")
def test_kernels_are_in_the_trace(tmp_path: Path) -> None:
    out, doc = record(tmp_path, with_memory=True)
    kernels = [e for e in doc["traceEvents"] if e.get("cat") == "kernel"]
    assert kernels
    assert {e["args"]["stream"] for e in kernels}
    assert any(f.name == "memory_snapshot.pickle" for f in out.files)
