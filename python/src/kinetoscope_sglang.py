"""SGLang's general plugin of Kinetoscope: every scheduler of a server joins a hub as a rank.

SGLang calls register in each of its processes and then applies the hooks that it has registered.
Without KINETOSCOPE_URL it does nothing and imports nothing, so that a server that has the package
and not the variable is as without both. With it each scheduler, of which there is one a rank, joins
with its place; its batches are iterations with the labels that SGLang gives its own profiler, and the
newest of them are kept for sessions that look back. kinetoscope_join has the variables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import kinetoscope_join

log = logging.getLogger("kinetoscope.sglang")

_SCHEDULER = "sglang.srt.managers.scheduler.Scheduler"


def register() -> None:
    """Have the schedulers of this process join, if the environment says where."""
    if not kinetoscope_join.wanted():
        return
    try:
        from sglang.srt.plugins.hook_registry import HookRegistry, HookType
    except ImportError as e:
        log.warning("this SGLang has no hooks for plugins: its schedulers do not join: %s", e)
        return
    HookRegistry.register(f"{_SCHEDULER}.__init__", _joined, HookType.AFTER)
    HookRegistry.register(f"{_SCHEDULER}.run_batch", _as_step, HookType.AROUND)


def _joined(result: Any, scheduler: Any, *_args: Any, **_kwargs: Any) -> Any:
    kinetoscope_join.join(scheduler, "sglang", "scheduler", place)
    return result


def place() -> tuple[int, int, int]:
    """Where this process's scheduler is: its rank in its replica, the replica, how many ranks that has."""
    from sglang.srt.runtime_context import get_parallel

    p = get_parallel()
    tp, pp = int(p.tp_size), int(p.pp_size)
    try:
        replica = int(p.dp_rank or 0)
    except (AttributeError, RuntimeError):  # one replica: nobody has written its number
        replica = 0
    return int(p.pp_rank) * tp + int(p.tp_rank), replica, tp * pp


def text(batch: Any) -> tuple[str, str]:
    """A batch's label, as SGLang's own profiler writes it, and the ids of its requests."""
    mode = batch.forward_mode
    label = f"step[{mode.name} bs={len(batch.reqs)}"
    if mode.name in ("EXTEND", "MIXED"):
        label += f" toks={batch.extend_num_tokens or 0}"
    return label + "]", ",".join(str(r.rid) for r in batch.reqs[: kinetoscope_join.MAX_NAMED])


def _as_step(run_batch: Callable[..., Any], scheduler: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
    return kinetoscope_join.run_step(
        scheduler, text, batch, "run_batch", lambda: run_batch(scheduler, batch, *args, **kwargs)
    )
