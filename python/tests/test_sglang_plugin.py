"""The SGLang plugin, on a stand-in for its registry of hooks; make engines has the real one."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from fakes import Hub, imports, stand_in

import kinetoscope_sglang


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Callable[..., Any], str]]:
    """What the plugin has registered, by target, with the kind of hook."""
    found: dict[str, tuple[Callable[..., Any], str]] = {}
    registry = stand_in(monkeypatch, "sglang.srt.plugins.hook_registry")
    registry.HookType = types.SimpleNamespace(AFTER="after", AROUND="around")
    registry.HookRegistry = types.SimpleNamespace(
        register=lambda target, hook, kind: found.update({target: (hook, kind)})
    )
    context: Any = types.ModuleType("sglang.srt.runtime_context")
    context.get_parallel = lambda: types.SimpleNamespace(tp_size=2, pp_size=2, tp_rank=1, pp_rank=1)
    monkeypatch.setitem(sys.modules, "sglang.srt.runtime_context", context)
    return found


def batch(mode: str, n: int, tokens: int) -> Any:
    return types.SimpleNamespace(
        forward_mode=types.SimpleNamespace(name=mode),
        reqs=[types.SimpleNamespace(rid=f"r{i}") for i in range(n)],
        extend_num_tokens=tokens,
    )


def test_without_the_variable_nothing_is_registered(
    hooks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KINETOSCOPE_URL", raising=False)
    kinetoscope_sglang.register()
    assert hooks == {}


def test_importing_it_imports_nothing_heavy() -> None:
    assert imports("kinetoscope_sglang", "torch", "nats", "kinetoscope", "sglang") == []


def test_a_scheduler_joins_with_its_place_and_its_steps(
    hooks: dict[str, tuple[Callable[..., Any], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_URL", "nats://hub:4222")
    hub = Hub(monkeypatch)
    kinetoscope_sglang.register()
    joined, kind = hooks["sglang.srt.managers.scheduler.Scheduler.__init__"]
    assert kind == "after"
    step, kind = hooks["sglang.srt.managers.scheduler.Scheduler.run_batch"]
    assert kind == "around"
    scheduler = types.SimpleNamespace()
    ran = step(lambda _s, b, **_: f"ran {len(b.reqs)}", scheduler, batch("DECODE", 2, 0))
    assert ran == "ran 2"  # before it has joined
    assert hub.attached.steps == 0
    assert joined(None, scheduler) is None
    ran = step(lambda _s, b, **kw: (len(b.reqs), kw), scheduler, batch("DECODE", 2, 0), more=1)
    assert ran == (2, {"more": 1})
    assert step(lambda _s, _b: "odd", scheduler, None) == "odd"  # a release with another batch
    assert hub.attached.steps == 2
    (got,) = hub.asked
    assert (got["stage"], got["rank"], got["replica"], got["world_size"]) == ("sglang", 3, 0, 4)
    assert got["nats"] == "nats://hub:4222"


def test_a_release_with_another_context_goes_on(
    hooks: dict[str, tuple[Callable[..., Any], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_URL", "yes")
    kinetoscope_sglang.register()
    name = "sglang.srt.runtime_context"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    joined, _ = hooks["sglang.srt.managers.scheduler.Scheduler.__init__"]
    scheduler = types.SimpleNamespace()
    joined(None, scheduler)
    assert not hasattr(scheduler, "_kinetoscope_rank")


def test_labels_are_those_of_sglangs_profiler() -> None:
    assert kinetoscope_sglang.text(batch("EXTEND", 2, 96)) == ("step[EXTEND bs=2 toks=96]", "r0,r1")
    assert kinetoscope_sglang.text(batch("DECODE", 1, 0)) == ("step[DECODE bs=1]", "r0")
