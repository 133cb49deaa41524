"""vLLM-Omni's plugin, on a stand-in for its diffusion worker; make engines has the real one."""

from __future__ import annotations

import types
from typing import Any

import pytest
from fakes import Hub, imports, stand_in

import kinetoscope_omni
import kinetoscope_vllm


class Worker:
    """What a diffusion worker has, as far as the plugin looks."""

    def __init__(self) -> None:
        self.rank = 1
        self.od_config = types.SimpleNamespace(stage_id=2, num_gpus=2)

    def execute_model(self, req: Any, od_config: Any, **_: Any) -> str:
        return f"ran {req.request_id}"

    def execute_model_batch(self, cycle: Any, od_config: Any) -> list[str]:
        one = types.SimpleNamespace(request_id=cycle.scheduled_request_ids[0])
        return [self.execute_model(one, od_config)]

    def execute_stepwise(self, cycle: Any) -> str:
        return "stepped"


class Wrapper:
    """What vLLM-Omni's own WorkerWrapperBase does: it makes a worker and hands calls on to it."""

    def __init__(self, gpu_id: int) -> None:
        self.worker = Worker()

    def execute_stepwise(self, cycle: Any) -> str:
        return self.worker.execute_stepwise(cycle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.worker, name)


@pytest.fixture
def wrapper(monkeypatch: pytest.MonkeyPatch) -> type[Wrapper]:
    fresh = type("WorkerWrapperBase", (Wrapper,), dict(Wrapper.__dict__))
    stand_in(monkeypatch, "vllm_omni.diffusion.worker.diffusion_worker").WorkerWrapperBase = fresh
    return fresh


def cycle(*ids: str) -> Any:
    return types.SimpleNamespace(scheduled_request_ids=list(ids))


def test_without_the_variable_nothing_is_touched(
    wrapper: type[Wrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KINETOSCOPE_URL", raising=False)
    before = dict(wrapper.__dict__)
    kinetoscope_omni.register()
    assert dict(wrapper.__dict__) == before


def test_importing_it_imports_nothing_heavy() -> None:
    assert imports("kinetoscope_omni", "torch", "nats", "kinetoscope", "vllm", "vllm_omni") == []


def test_a_diffusion_worker_joins_its_stage_and_counts_its_steps(
    wrapper: type[Wrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_URL", "nats://hub:4222")
    monkeypatch.setenv("KINETOSCOPE_STAGE", "7")  # for servers with one stage
    hub = Hub(monkeypatch)
    kinetoscope_omni.register()
    kinetoscope_omni.register()  # plugins may be loaded twice
    w = wrapper(0)
    assert w.execute_stepwise(cycle("a", "b")) == "stepped"
    assert w.execute_model(types.SimpleNamespace(request_id="c"), None) == "ran c"
    assert hub.attached.steps == 2
    # A batch runs the single forward pass inside: one iteration.
    assert w.execute_model_batch(cycle("d"), None) == ["ran d"]
    assert hub.attached.steps == 3
    (got,) = hub.asked
    assert (got["stage"], got["stage_id"], got["stage_type"]) == ("diffusion2", 2, "diffusion")
    assert (got["rank"], got["replica"], got["world_size"]) == (1, 0, 2)


def test_a_release_with_another_configuration_goes_on(
    wrapper: type[Wrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_URL", "yes")
    monkeypatch.delattr(Worker, "execute_model_batch")

    def changed(self: Worker) -> None:
        self.rank = 0  # and no od_config

    monkeypatch.setattr(Worker, "__init__", changed)
    kinetoscope_omni.register()
    w = wrapper(0)
    assert w.execute_stepwise(cycle("a")) == "stepped"


def test_requests_are_told_from_what_is_worked_on() -> None:
    assert kinetoscope_omni.requests(cycle("a", "b")) == "a,b"
    one = types.SimpleNamespace(request_id="r")
    assert kinetoscope_omni.requests(one) == "r"
    assert kinetoscope_omni.requests([one, one]) == "r,r"


def test_a_language_stage_of_vllm_omni_has_its_own_place() -> None:
    def worker(**model: Any) -> Any:
        config = types.SimpleNamespace(**model)
        return types.SimpleNamespace(vllm_config=types.SimpleNamespace(model_config=config))

    assert kinetoscope_vllm.stage(worker(stage_id=1, model_stage="talker", worker_type="ar")) == (
        1,
        "talker",
        "llm",
    )
    generation = worker(stage_id=2, model_stage="code2wav", worker_type="generation")
    assert kinetoscope_vllm.stage(generation) == (2, "code2wav", "generation")
    assert kinetoscope_vllm.stage(worker()) is None  # a vLLM
