"""The vLLM plugin, on a stand-in for vLLM's worker wrapper; make engines has the real one."""

from __future__ import annotations

import types
from typing import Any

import pytest
from fakes import Hub, imports, stand_in

import kinetoscope_vllm


class Wrapper:
    """What vLLM's WorkerWrapperBase has, as far as the plugin looks."""

    def __init__(self) -> None:
        parallel = types.SimpleNamespace(
            tensor_parallel_size=2, pipeline_parallel_size=2, data_parallel_rank=1
        )
        config = types.SimpleNamespace(parallel_config=parallel)
        self.worker = types.SimpleNamespace(rank=7, vllm_config=config)

    def init_device(self) -> str:
        return "ready"

    def execute_model(self, scheduler_output: Any) -> str:
        return f"ran {scheduler_output.total}"


@pytest.fixture
def wrapper(monkeypatch: pytest.MonkeyPatch) -> type[Wrapper]:
    fresh = type("WorkerWrapperBase", (Wrapper,), dict(Wrapper.__dict__))
    stand_in(monkeypatch, "vllm.v1.worker.worker_base").WorkerWrapperBase = fresh
    return fresh


def schedule() -> Any:
    cached = types.SimpleNamespace(req_ids=["b", "c"], num_output_tokens=[3, 0])
    return types.SimpleNamespace(
        num_scheduled_tokens={"a": 10, "b": 1, "c": 5},
        scheduled_new_reqs=[types.SimpleNamespace(req_id="a")],
        scheduled_cached_reqs=cached,
        total=16,
    )


def test_without_the_variable_nothing_is_touched(
    wrapper: type[Wrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KINETOSCOPE_URL", raising=False)
    before = dict(wrapper.__dict__)
    kinetoscope_vllm.register()
    assert dict(wrapper.__dict__) == before


def test_importing_it_imports_nothing_heavy() -> None:
    assert imports("kinetoscope_vllm", "torch", "nats", "kinetoscope", "vllm") == []


def test_a_worker_joins_with_its_place_and_its_steps(
    wrapper: type[Wrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_URL", "nats://hub:4222")
    hub = Hub(monkeypatch)
    kinetoscope_vllm.register()
    kinetoscope_vllm.register()  # vLLM may load plugins twice
    w = wrapper()
    assert w.init_device() == "ready"
    assert w.execute_model(schedule()) == "ran 16"
    assert hub.attached.steps == 1
    (got,) = hub.asked
    assert got["stage"] == "vllm"
    assert (got["rank"], got["replica"], got["world_size"]) == (3, 1, 4)
    assert got["nats"] == "nats://hub:4222"
    assert not got["config"].torch_profiler_with_stack


def test_an_independent_engine_is_the_replica_that_its_index_says() -> None:
    w = Wrapper()
    parallel = w.worker.vllm_config.parallel_config
    parallel.data_parallel_rank, parallel.data_parallel_index = 0, 2
    assert kinetoscope_vllm.place(w.worker) == (3, 2, 4)


def test_a_hub_that_is_not_there_does_not_stop_the_server(
    wrapper: type[Wrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_URL", "yes")
    kinetoscope_vllm.register()
    w = wrapper()
    w.worker.vllm_config = None  # a release with another configuration
    assert w.init_device() == "ready"
    assert w.execute_model(schedule()) == "ran 16"


def test_labels_are_those_of_vllms_profiler() -> None:
    assert kinetoscope_vllm.text(schedule()) == ("execute_context_2(15)_generation_1(1)", "a,b,c")
