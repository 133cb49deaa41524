"""vLLM's general plugin of Kinetoscope: every worker of a server joins a hub as a rank.

vLLM calls register in each of its processes. Without KINETOSCOPE_URL it does nothing and
imports nothing, so that a server that has the package and not the variable is as without both.
With it each worker is a rank with its place, its steps are iterations with the labels that vLLM
gives its own profiler, and the newest of them are kept for sessions that look back. A hub that
is not there never stops the server: the worker looks for it in a thread of its own.
kinetoscope_join has the variables.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import kinetoscope_join

log = logging.getLogger("kinetoscope.vllm")


def register() -> None:
    """Have the workers of this process join, if the environment says where."""
    if not kinetoscope_join.wanted():
        return
    try:
        from vllm.v1.worker.worker_base import WorkerWrapperBase
    except ImportError as e:
        log.warning("this vLLM has no WorkerWrapperBase: its workers do not join: %s", e)
        return
    if getattr(WorkerWrapperBase, "_kinetoscope", False):
        return  # vLLM may load plugins more than once
    WorkerWrapperBase._kinetoscope = True
    WorkerWrapperBase.init_device = _then_join(WorkerWrapperBase.init_device)
    WorkerWrapperBase.execute_model = _as_step(WorkerWrapperBase.execute_model)


def _then_join(init_device: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(init_device)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = init_device(self, *args, **kwargs)
        kinetoscope_join.join(self, "vllm", "worker", lambda: place(self.worker), lambda: stage(self.worker))
        return result

    return wrapped


def _as_step(execute_model: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(execute_model)
    def wrapped(self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        return kinetoscope_join.run_step(
            self,
            text,
            scheduler_output,
            "execute_model",
            lambda: execute_model(self, scheduler_output, *args, **kwargs),
        )

    return wrapped


def place(worker: Any) -> tuple[int, int, int]:
    """Where a worker is: its rank in its replica, the replica, how many ranks that has."""
    parallel = worker.vllm_config.parallel_config
    world = int(parallel.tensor_parallel_size) * int(parallel.pipeline_parallel_size)
    # In independent engines, which all but models of experts have, the rank is 0 and the index alone tells.
    replica = getattr(parallel, "data_parallel_index", None)
    if replica is None:
        replica = getattr(parallel, "data_parallel_rank", 0)
    return int(worker.rank) % world, int(replica or 0), world


def stage(worker: Any) -> tuple[int | None, str, str] | None:
    """The stage of a vLLM-Omni's worker: number, name and type; None of a vLLM, which has one stage."""
    model = getattr(worker.vllm_config, "model_config", None)
    number, name = getattr(model, "stage_id", None), getattr(model, "model_stage", None)
    if not isinstance(number, int) or not isinstance(name, str) or not name:
        return None
    generates = getattr(model, "worker_type", None) == "generation" or "code2wav" in name
    return number, name, "generation" if generates else "llm"


def text(scheduler_output: Any) -> tuple[str, str]:
    """A step's label, as vLLM's own profiler writes it, and the ids of its requests."""
    tokens: dict[str, int] = scheduler_output.num_scheduled_tokens
    context = {r.req_id for r in scheduler_output.scheduled_new_reqs}
    cached = scheduler_output.scheduled_cached_reqs
    for req_id, outputs in zip(cached.req_ids, getattr(cached, "num_output_tokens", ()), strict=False):
        if outputs == 0:  # a prompt that is read in chunks
            context.add(req_id)
    ctx = sum(n for r, n in tokens.items() if r in context)
    gen = sum(tokens.values()) - ctx
    named = ",".join(list(tokens)[: kinetoscope_join.MAX_NAMED])
    return f"execute_context_{len(context)}({ctx})_generation_{len(tokens) - len(context)}({gen})", named
