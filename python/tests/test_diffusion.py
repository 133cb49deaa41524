from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from fakes import Sent

from kinetoscope import wire
from kinetoscope.worker.group import Group
from kinetoscope.worker.loop import Loop
from kinetoscope.worker.options import Deployment, Options, Stage

MODEL = Path(__file__).parents[2] / "examples" / "torch" / "diffusion" / "model"


def painter(group: Group) -> tuple[Loop, Any, Sent]:
    from kinetoscope.worker.diffusion import Diffusion

    stage = Stage.from_dict(
        {
            "stage_type": "diffusion",
            "model": str(MODEL),
            "final_output": True,
            "final_output_type": "image",
        }
    )
    stop = threading.Event()
    loop = Loop(Options("n", "p", 0), Deployment("p", [stage]), stage, group, torch.device("cpu"), stop)
    sent = Sent()
    loop.rank = sent  # type: ignore[assignment]
    loop.runner = runner = Diffusion(loop)
    return loop, runner, sent


def request(name: str, steps: int) -> wire.Message:
    image = {"n": 1, "width": 64, "height": 64, "steps": steps, "guidance": 2.0, "seed": 1}
    body = {"id": name, "reply": "inbox", "prompt": "a lighthouse", "image": image}
    return wire.Message({"kind": "submit", "id": name, "request": body})


def paint(loop: Loop, runner: Any, plan: Any) -> Any:
    with torch.inference_mode():
        result = runner.run(plan)
    if loop.group.rank == 0:
        runner.emit(plan, result, 1)
    return result


def test_phases_are_measured_each_for_itself() -> None:
    pytest.importorskip("diffusers")
    loop, runner, sent = painter(Group(0, 1))
    runner.accept(request("a", 3))
    paint(loop, runner, runner.plan())
    assert [m.kind for m in sent.messages] == ["output", "done"]
    took = sent.messages[1].head["durations"]
    assert set(took) == {"text_encode", "denoise_step", "vae_decode"}
    seen = loop.calls("durations", {})
    assert {phase: d["count"] for phase, d in seen.items()} == {
        "text_encode": 1,
        "denoise_step": 3,
        "vae_decode": 1,
    }
    for phase, d in seen.items():
        assert d["sum_seconds"] == pytest.approx(took[phase] / 1e9)
        assert len(d["buckets"]) == 18
        assert d["buckets"][-1] == d["count"]


def cancelling(runner: Any, loop: Loop, name: str) -> None:
    """Have the cancellation of a request come in during its second denoise step."""
    inner, calls = loop.step_ended, 0

    def step_ended() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            loop._enqueue(wire.Message({"kind": "cancel", "id": name}))
        inner()

    loop.step_ended = step_ended  # type: ignore[method-assign]


def test_a_cancelled_request_ends_with_its_step() -> None:
    pytest.importorskip("diffusers")
    loop, runner, sent = painter(Group(0, 1))
    runner.accept(request("a", 50))
    runner.accept(request("b", 2))
    cancelling(runner, loop, "a")
    paint(loop, runner, runner.plan())
    assert sent.messages == []
    assert loop.calls("durations", {})["denoise_step"]["count"] == 2
    paint(loop, runner, runner.plan())
    assert [m.kind for m in sent.messages] == ["output", "done"]
    assert runner.plan() is None


def _rank(rank: int, store: str, out: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    loop, runner, sent = painter(Group(rank, 2, dist.group.WORLD))
    from kinetoscope.worker.loop import Plan

    if rank == 0:
        cancelling(runner, loop, "a")
    steps = []
    for m in (request("a", 50), request("b", 2)):
        assert m.request is not None
        paint(loop, runner, Plan("generate", [m.id], {"request": m.request}))
        steps.append(runner._step)
    out.put((rank, steps, [m.kind for m in sent.messages]))
    out.close()
    out.join_thread()
    dist.destroy_process_group()


def test_all_ranks_end_a_cancelled_request_at_the_same_step(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    ranks = [context.Process(target=_rank, args=(r, str(tmp_path / "store"), out)) for r in range(2)]
    for r in ranks:
        r.start()
    got = sorted(out.get(timeout=240) for _ in ranks)
    for r in ranks:
        r.join()
    assert got == [(0, [2, 4], ["output", "done"]), (1, [2, 4], [])]
