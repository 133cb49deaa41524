from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import Sent

from kinetoscope import wire
from kinetoscope.worker.group import Group
from kinetoscope.worker.loop import Loop
from kinetoscope.worker.options import Deployment, Options, Stage

MODELS = Path(__file__).parents[2] / "examples" / "torch" / "omni"


THINKER = Stage.from_dict({"stage_id": 0, "model": str(MODELS / "thinker"), "final_output": True})
TALKER = Stage.from_dict({"stage_id": 1, "model": str(MODELS / "talker"), "engine_input_source": [0]})
CODE2WAV = Stage.from_dict({"stage_id": 2, "engine_input_source": [1]})


def runner_of(stage: Stage, dtype: torch.dtype) -> tuple[Loop, Any, Sent]:
    from kinetoscope.worker.llm import LLM

    pipeline = Deployment("p", [THINKER, TALKER, CODE2WAV])
    loop = Loop(
        Options("n", "p", stage.stage_id),
        pipeline,
        stage,
        Group(0, 1),
        torch.device("cpu"),
        threading.Event(),
    )
    sent = Sent()
    loop.rank = sent  # type: ignore[assignment]
    loop.runner = runner = LLM(loop)
    runner.model.to(dtype)
    return loop, runner, sent


def drive(runner: Any) -> None:
    with torch.inference_mode():
        while (plan := runner.plan()) is not None:
            runner.emit(plan, runner.run(plan), 1)


def ask(name: str, **sampling: Any) -> wire.Message:
    route = [{"stage": i, "subject": f"to{i}"} for i in range(3)]
    body = {"id": name, "reply": "inbox", "route": route, "prompt": "hello", "sampling": sampling}
    return wire.Message({"kind": "submit", "id": name, "request": body})


# What a card's models are made of is what its tensors are on their way to other stages.
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_thinker_and_a_talker_in_any_precision(dtype: torch.dtype) -> None:
    pytest.importorskip("transformers")
    _, thinker, sent = runner_of(THINKER, dtype)
    thinker.accept(ask("a", max_tokens=6, ignore_eos=True))
    thinker.accept(ask("b", max_tokens=3, ignore_eos=True, temperature=0.8, seed=5))
    drive(thinker)
    done = [m for m in sent.messages if m.kind == "done"]
    assert [m.id for m in done] == ["b", "a"]
    assert set(done[0].head["durations"]) == {"queue", "prefill", "decode_step"}
    handoffs = [m for m in sent.messages if m.kind == "handoff" and m.id == "a"]
    assert handoffs[0].request
    assert sum(len(m.tokens) for m in handoffs) == 6
    # The prompt's states and those of all but the last token, which predicts nothing here.
    assert {t.shape for m in handoffs for t in m.tensors} == {(thinker.config.hidden_size,)}

    _, talker, spoken = runner_of(TALKER, dtype)
    for m in handoffs:
        talker.accept(m)
        drive(talker)
    frames = [m for m in spoken.messages if m.kind == "handoff"]
    assert frames[-1].final
    assert [m.kind for m in spoken.messages][-1] == "done"
    # A frame or more for every state.
    assert sum(len(m.tokens) for m in frames) >= 6
    assert talker.pending() == thinker.pending() == 0
