"""vLLM-Omni's general plugin of Kinetoscope: every diffusion worker of a server joins a hub as a rank.

vLLM-Omni calls register in each of its processes, and vLLM's plugin beside it, which has the workers of
its language stages join (kinetoscope_vllm). Diffusion stages have workers and a wrapper of their own.
Without KINETOSCOPE_URL it does nothing and imports nothing. With it each worker is a rank of its stage,
and each forward pass, or each denoise step where the engine executes by steps, is an iteration with the
label that the engine gives its own profiler and the ids of its requests. kinetoscope_join has the
variables.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import kinetoscope_join

log = logging.getLogger("kinetoscope.vllm-omni")

# The methods of a worker that do one iteration's work, and the engine's own labels of them.
_STEPS = {
    "execute_model": "diffusion_forward",
    "execute_model_batch": "diffusion_forward_batch",
    "execute_stepwise": "diffusion_step",
}


def register() -> None:
    """Have the diffusion workers of this process join, if the environment says where."""
    if not kinetoscope_join.wanted():
        return
    try:
        from vllm_omni.diffusion.worker.diffusion_worker import WorkerWrapperBase
    except ImportError as e:
        log.warning("this vLLM-Omni has no diffusion worker: its diffusion stages do not join: %s", e)
        return
    if getattr(WorkerWrapperBase, "_kinetoscope", False):
        return  # plugins may be loaded more than once
    WorkerWrapperBase._kinetoscope = True
    WorkerWrapperBase.__init__ = _then_join(WorkerWrapperBase.__init__)


def _then_join(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        worker = self.worker
        kinetoscope_join.join(
            worker, "vllm-omni", "diffusion worker", lambda: place(worker), lambda: stage(worker)
        )
        # The worker's class depends on the platform and its extensions, and others call it directly: the
        # methods are replaced where they are looked up first.
        for method, label in _STEPS.items():
            run = getattr(worker, method, None)
            if run is not None:
                setattr(worker, method, _as_step(worker, run, label))

    return wrapped


def _as_step(worker: Any, run: Callable[..., Any], label: str) -> Callable[..., Any]:
    @functools.wraps(run)
    def wrapped(work: Any, *args: Any, **kwargs: Any) -> Any:
        return kinetoscope_join.run_step(
            worker, lambda w: (label, requests(w)), work, label, lambda: run(work, *args, **kwargs)
        )

    return wrapped


def place(worker: Any) -> tuple[int, int, int]:
    """Where a worker is: its rank, its replica, how many ranks its stage has."""
    config = worker.od_config
    return int(worker.rank), int(getattr(config, "replica_id", 0) or 0), int(config.num_gpus or 1)


def stage(worker: Any) -> tuple[int | None, str, str]:
    """A worker's stage: number, name and type."""
    number = int(getattr(worker.od_config, "stage_id", 0) or 0)
    return number, f"diffusion{number or ''}", "diffusion"


def requests(work: Any) -> str:
    """The ids of the requests that one call works on, joined by commas."""
    ids = getattr(work, "scheduled_request_ids", None)  # of a scheduler's cycle
    if ids is None:
        one = work if isinstance(work, list) else [work]
        ids = [r.request_id for r in one]
    return ",".join(str(i) for i in ids[: kinetoscope_join.MAX_NAMED])
