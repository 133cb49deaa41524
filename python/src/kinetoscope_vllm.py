"""vLLM's general plugin of Kinetoscope: every worker of a server joins a hub as a rank.

vLLM calls register in each of its processes. Without KINETOSCOPE_URL it does nothing and
imports nothing, so that a server that has the package and not the variable is as without both.
With it each worker is a rank with its place, its steps are iterations with the labels that vLLM
gives its own profiler, and the newest of them are kept for sessions that look back. A hub that
is not there never stops the server: the worker looks for it in a thread of its own.

    KINETOSCOPE_URL         where the hub is: nats://TOKEN@host:4222 or tls://…, as serve prints it; any
                            other value has it looked for at KINETOSCOPE_NATS, then on this host
    KINETOSCOPE_STAGE_NAME  the stage's name, vllm without it; KINETOSCOPE_STAGE its number
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

log = logging.getLogger("kinetoscope.vllm")

# How long one attempt waits for a hub, and how long the next one is put off.
_ATTEMPT_S = 30.0
_AGAIN_S = 10.0
# The requests of a step that its label names: a large batch has hundreds.
_MAX_NAMED = 64


def register() -> None:
    """Have the workers of this process join, if the environment says where."""
    if not os.environ.get("KINETOSCOPE_URL"):
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
        try:
            self._kinetoscope_rank = Rank(self)
        except Exception:  # whatever a release has changed, the server goes on
            log.exception("this worker does not join")
        return result

    return wrapped


def _as_step(execute_model: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(execute_model)
    def wrapped(self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        rank = self.__dict__.get("_kinetoscope_rank")
        if rank is None or rank.attached is None:
            return execute_model(self, scheduler_output, *args, **kwargs)
        with rank.label(scheduler_output):
            result = execute_model(self, scheduler_output, *args, **kwargs)
        rank.step()
        return result

    return wrapped


def place(worker: Any) -> tuple[int, int, int]:
    """Where a worker is: its rank in its replica, the replica, how many ranks that has."""
    parallel = worker.vllm_config.parallel_config
    world = int(parallel.tensor_parallel_size) * int(parallel.pipeline_parallel_size)
    return int(worker.rank) % world, int(getattr(parallel, "data_parallel_rank", 0) or 0), world


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
    named = ",".join(list(tokens)[:_MAX_NAMED])
    return f"execute_context_{len(context)}({ctx})_generation_{len(tokens) - len(context)}({gen})", named


class Rank:
    """One worker, which becomes a rank as soon as a hub is there."""

    def __init__(self, wrapper: Any) -> None:
        self.attached: Any = None
        self._steps = 0
        self._rank, self._replica, self._world = place(wrapper.worker)
        threading.Thread(target=self._join, name="kinetoscope-join", daemon=True).start()

    def _join(self) -> None:
        import kinetoscope
        from kinetoscope import protocol

        url = os.environ["KINETOSCOPE_URL"]
        nats = url if url.split("://", 1)[0] in ("nats", "tls") else ""
        said = ""
        while self.attached is None:
            try:
                self.attached = kinetoscope.attach(
                    os.environ.get("KINETOSCOPE_STAGE_NAME", "vllm"),
                    nats=nats,
                    stage_id=int(os.environ.get("KINETOSCOPE_STAGE", "0")),
                    stage_type="llm",
                    config=protocol.ProfilerConfig(profiler="torch", torch_profiler_with_stack=False),
                    rank=self._rank,
                    replica=self._replica,
                    world_size=self._world,
                    timeout_s=_ATTEMPT_S,
                )
                log.warning("joined as rank %d of %d, replica %d", self._rank, self._world, self._replica)
            except Exception as e:
                if str(e) != said:
                    said = str(e)
                    log.warning("no hub yet; it is looked for again: %s", e)
                threading.Event().wait(_AGAIN_S)

    def label(self, scheduler_output: Any) -> AbstractContextManager[Any]:
        """The region of one step."""
        from kinetoscope import regions

        try:
            name, requests = text(scheduler_output)
        except AttributeError:  # a release that words its schedule differently
            name, requests = "execute_model", ""
        return regions.annotate(name, step=self._steps, requests=requests)

    def step(self) -> None:
        """One step has ended."""
        self._steps += 1
        self.attached.step()
