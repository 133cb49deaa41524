"""Platforms against fakes of their modules: none of these devices is here."""

from __future__ import annotations

import gzip
import io
import json
import multiprocessing
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from kinetoscope import ProfilerConfig, TorchProfiler, annotate, ascend, platforms
from kinetoscope.protocol import RankInfo
from kinetoscope.regions import Logged


class Memory:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def _record_memory_history(self, **options: Any) -> None:
        self.calls.append(("record", options))

    def _dump_snapshot(self, path: str) -> None:
        Path(path).write_bytes(b"snapshot")
        self.calls.append(("dump", path))


class Card:
    """torch.<device> of a card."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.chosen = -1
        self.ranges: list[str] = []

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def set_device(self, i: int) -> None:
        self.chosen = i

    def synchronize(self) -> None:
        """Nothing runs."""

    def cudart(self) -> Any:
        return types.SimpleNamespace(
            cudaProfilerStart=lambda: self.ranges.append("start"),
            cudaProfilerStop=lambda: self.ranges.append("stop"),
        )


def test_the_cpu_is_always_there() -> None:
    assert platforms.find("cpu").device == "cpu"
    assert platforms.find("", [platforms.Npu, platforms.Musa, platforms.Platform]).name == "cpu"


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(ValueError, match="npu, musa, xpu, rocm, cuda, cpu"):
        platforms.find("abacus")


@pytest.mark.parametrize("make", [platforms.Npu, platforms.Musa])
def test_what_is_not_installed_is_not_available(make: type[platforms.Platform]) -> None:
    assert not make().available()
    with pytest.raises(RuntimeError, match="not available"):
        platforms.find(make.name, [make])


@pytest.mark.parametrize(
    ("make", "hip", "name"), [(platforms.Cuda, None, "cuda"), (platforms.Rocm, "6.2", "rocm")]
)
def test_cuda_and_rocm_share_a_module(
    make: type[platforms.Platform], hip: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "cuda", Card())
    monkeypatch.setattr(torch.version, "hip", hip)
    got = platforms.find("", [platforms.Rocm, platforms.Cuda])
    assert isinstance(got, make)
    assert (got.name, got.device, got.backend, got.count()) == (name, "cuda", "nccl", 2)
    assert torch.profiler.ProfilerActivity.CUDA in got.activities()


@pytest.mark.parametrize(
    ("make", "attribute", "backend"), [(platforms.Xpu, "xpu", "xccl"), (platforms.Musa, "musa", "mccl")]
)
def test_other_cards(
    make: type[platforms.Platform],
    attribute: str,
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = Card()
    monkeypatch.setattr(torch, attribute, card, raising=False)
    got = platforms.find("", [make])
    got.set_device(1)
    assert (got.backend, card.chosen) == (backend, 1)
    assert len(got.activities()) == 2
    assert got.memory_start()
    got.memory_dump(tmp_path / "m")
    assert [c[0] for c in card.memory.calls] == ["record", "dump", "record"]
    assert card.memory.calls[0][1]["max_entries"] == platforms.MEMORY_ENTRIES
    assert card.memory.calls[2][1] == {"enabled": None}


def test_cards_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card()
    monkeypatch.setattr(torch, "cuda", card)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert platforms.Cuda().identity(0) == "cuda 0 of 3"
    card.get_device_properties = lambda i: types.SimpleNamespace(uuid=f"GPU-{i}")  # type: ignore[attr-defined]
    assert platforms.Cuda().identity(0) == "cuda GPU-0"
    assert platforms.Platform().identity(0) == ""


def test_activities_are_chosen_by_any_name_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", Card())
    monkeypatch.setattr(torch.version, "hip", None)
    both = torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA
    card, cpu = platforms.Cuda(), platforms.Platform()
    assert card.chosen([]) == card.chosen(["cpu", "GPU"]) == list(both)
    assert card.chosen(["CUDA"]) == [both[1]]
    assert card.chosen(["CPU"]) == cpu.chosen(["CPU", "CUDA"]) == [both[0]]
    with pytest.raises(ValueError, match="leaves nothing to record on cpu"):
        cpu.chosen(["CUDA"])


def test_profiler_cuda_opens_a_range_and_leaves_its_regions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card()
    monkeypatch.setattr(torch, "cuda", card)
    monkeypatch.setattr(torch.version, "hip", None)
    prof = TorchProfiler(ProfilerConfig(profiler="cuda"), platform=platforms.Cuda())
    prof.prepare(tmp_path)
    prof.open()
    with annotate("decode_step", step=1):
        pass
    prof.close()
    assert card.ranges == ["start", "stop"]
    (made,) = prof.export().files
    events = json.loads(gzip.decompress(made.path.read_bytes()))["traceEvents"]
    assert [e["args"] for e in events if e["name"] == "decode_step"] == [{"step": 1}]


def test_profiler_cuda_on_a_cpu_says_what_it_needs(tmp_path: Path) -> None:
    prof = TorchProfiler(ProfilerConfig(profiler="cuda"), platform=platforms.Platform())
    prof.prepare(tmp_path)
    with pytest.raises(NotImplementedError, match="CUDA device"):
        prof.open()


class NpuProfiler(types.ModuleType):
    """torch_npu.profiler, as far as it is used."""

    def __init__(self) -> None:
        super().__init__("torch_npu.profiler")
        self.options: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.ProfilerLevel = types.SimpleNamespace(Level1="Level1")
        self.AiCMetrics = types.SimpleNamespace(PipeUtilization="PipeUtilization")
        self.ProfilerActivity = types.SimpleNamespace(CPU="CPU", NPU="NPU")

    def _ExperimentalConfig(self, **options: Any) -> dict[str, Any]:
        return options

    def tensorboard_trace_handler(self, path: str, analyse_flag: bool) -> tuple[str, bool]:
        return path, analyse_flag

    def profile(self, **options: Any) -> NpuProfiler:
        self.options = options
        return self

    def start(self) -> None:
        """Begins."""

    def stop(self) -> None:
        out = Path(self.options["on_trace_ready"][0]) / "h_1_ascend_pt" / "ASCEND_PROFILER_OUTPUT"
        out.mkdir(parents=True)
        (out / "trace_view.json").write_text(
            '[{"ph": "X", "name": "MatMul", "ts": "1795647420000000.123"}]\n'
        )
        (out / "kernel_details.csv").write_text("Name\n")
        (out / "communication.json").write_text("{}")
        (out / "ascend_pytorch_profiler.db").write_text("not handed over")

    def add_metadata_json(self, key: str, value: str) -> None:
        self.headers[key] = value


def test_npu_has_its_own_profiler_and_a_later_analysis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np = NpuProfiler()
    monkeypatch.setitem(sys.modules, "torch_npu", types.ModuleType("torch_npu"))
    monkeypatch.setitem(sys.modules, "torch_npu.profiler", np)
    monkeypatch.setattr(torch, "npu", Card(), raising=False)
    analysed: list[Path] = []
    monkeypatch.setattr(ascend, "analyse", analysed.append)
    got = platforms.find("", [platforms.Npu])
    config = ProfilerConfig(
        profiler="torch", torch_profiler_record_shapes=True, torch_profiler_with_memory=True
    )
    prof = TorchProfiler(config, platform=got, info=RankInfo("p", 1, 0, 3, stage_name="dit", world_size=4))
    prof.prepare(tmp_path)
    prof.open()
    with annotate("denoise_step", step=5, requests="a") as r:
        r.flow_out = 9
    prof.close()
    assert analysed == []  # not on the engine's thread
    out = prof.export()
    assert analysed == [tmp_path]
    assert [(f.name, f.kind) for f in out.files] == [
        ("trace.json.gz", "trace"),
        ("ascend_communication.json", "ascend"),
        ("ascend_kernel_details.csv", "ascend"),
        ("memory_snapshot.pickle", "memory"),
    ]
    doc = json.loads(gzip.decompress(out.files[0].path.read_bytes()))
    assert (doc["stage"], doc["distributedInfo"]["rank"], doc["distributedInfo"]["world_size"]) == (
        "dit",
        3,
        4,
    )
    kernel, region, arrow = doc["traceEvents"]
    assert kernel["name"] == "MatMul"
    assert (region["name"], region["args"]) == ("denoise_step", {"step": 5, "requests": "a"})
    assert isinstance(region["ts"], str)  # as all times of this dialect
    assert (arrow["ph"], arrow["id"], arrow["ts"]) == ("s", 9, region["ts"])
    assert np.options["record_shapes"] is True
    assert np.options["with_stack"] is False
    assert np.options["with_modules"] is True
    assert np.options["on_trace_ready"] == (str(tmp_path), False)  # parsed later, in a process of its own
    assert np.options["experimental_config"]["profiler_level"] == "Level1"


def test_npu_analysis_runs_in_a_process_that_is_no_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "torch_npu" / "profiler"
    package.mkdir(parents=True)
    (tmp_path / "torch_npu" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "profiler.py").write_text(
        "import multiprocessing, pathlib\n"
        "def analyse(d):\n"
        "    p = multiprocessing.Process(target=print)\n"  # what a daemon may not
        "    p.start()\n"
        "    p.join()\n"
        "    pathlib.Path(d, 'analysed').touch()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # A daemon worker may start no process of multiprocessing; a program of its own it may.
    worker = multiprocessing.get_context("fork").Process(target=ascend.analyse, args=(tmp_path,), daemon=True)
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    assert (tmp_path / "analysed").exists()
    with pytest.raises(RuntimeError, match=r"ended with 1: .*FileNotFoundError"):
        ascend.analyse(tmp_path / "missing")


@pytest.mark.parametrize(
    ("view", "why"), [(b'{"a": 1}', "no array"), (b'[{"ph": "X"}', "is cut"), (b"", "no array")]
)
def test_npu_views_that_are_none(view: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ascend.wrap(io.BytesIO(view), io.BytesIO(), {}, [], 1)


@pytest.mark.parametrize("n", [0, 1, 100_000])
def test_npu_views_of_any_size_keep_their_events(n: int) -> None:
    view = json.dumps([{"ph": "X", "name": str(i), "ts": "1"} for i in range(n)]).encode()
    to = io.BytesIO()
    region = Logged(1, 5_000_000, 6_000_001, "step", {})
    assert ascend.wrap(io.BytesIO(view + b" \n"), to, {"stage": "s"}, [region], 7) == 1
    events = json.loads(to.getvalue())["traceEvents"]
    assert len(events) == n + 1
    assert (events[-1]["ts"], events[-1]["dur"]) == ("5000.000", 1000.001)
