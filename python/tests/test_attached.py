from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from kinetoscope import annotate, platforms
from kinetoscope import protocol as p
from kinetoscope.attached import Attached

SESSION = "01M84JPGKD1F6DJP5AGT4TD8KA"


class Hub:
    """What a hub does with a rank, without NATS: its requests come on other threads."""

    def __init__(self, attached: Attached) -> None:
        self.handler = attached._handler

    def ask(self, method: str, r: Any, while_waiting: Any = None) -> Any:
        out: list[Any] = []
        t = threading.Thread(target=lambda: out.append(getattr(self.handler, method)(r)))
        t.start()
        while t.is_alive() and while_waiting is not None:
            while_waiting()
        t.join()
        return out[0]


def test_one_thread_is_recorded_from_step_to_step(tmp_path: Path) -> None:
    info = p.RankInfo("attached", stage_name="decoder", spool_dir=str(tmp_path))
    attached = Attached(info, "nats://nowhere", platforms.Platform(), all_threads=False)
    hub = Hub(attached)

    def work() -> None:
        with annotate("decode_step"):
            torch.ones(3)
        attached.step()

    with pytest.raises(RuntimeError, match=r"calls step\(\), and none has"):
        attached._handler.arm(p.ArmRequest(SESSION))
    work()
    config = p.ProfilerConfig(profiler="torch", torch_profiler_with_memory=True)
    assert hub.ask("arm", p.ArmRequest(SESSION, config), work).state == p.ARMED
    assert hub.ask("start", p.StartRequest(SESSION, 0), work).state == p.RECORDING
    for _ in range(3):
        work()
    assert hub.ask("stop", p.SessionRequest(SESSION), work).state == p.STOPPED
    _, files = hub.ask("collect", p.SessionRequest(SESSION))
    doc = json.loads(gzip.decompress(files[0].path.read_bytes()))
    names = [e.get("name") for e in doc["traceEvents"]]
    assert names.count("aten::ones") >= 3
    assert "[memory]" in names  # which torch records of one thread alone


def test_the_end_of_the_program_ends_what_waits_for_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinetoscope.attached._PATIENCE_S", 0)
    info = p.RankInfo("attached", stage_name="decoder", spool_dir=str(tmp_path))
    attached = Attached(info, "nats://nowhere", platforms.Platform(), all_threads=False)
    hub = Hub(attached)
    attached.step()
    hub.ask("arm", p.ArmRequest(SESSION, hub="h"), attached.step)
    hub.ask("start", p.StartRequest(SESSION, 0), attached.step)
    torch.ones(3)
    attached.close()
    assert [f.name for f in (tmp_path / SESSION).iterdir()] == ["stage0_replica0_rank0.trace.json.gz"]
