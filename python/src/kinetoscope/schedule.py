"""When to record, from the iterations that have ended.

The decisions are those of `torch.profiler.schedule`: delay_iterations are its skip_first,
wait, warm-up and active iterations its own, and there is one cycle. As in vLLM, wait,
warm-up and active count only if wait or warm-up is set; max_iterations bounds the window
in any case.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from kinetoscope.protocol import BY_ITERATIONS, BY_SCHEDULE, ProfilerConfig

# A window without an end: more iterations than anyone records.
_ENDLESS = 1 << 40

# What an instant means for the recording.
STAY, WARM, OPEN, SHUT = "stay", "warm", "open", "shut"


class Schedule:
    """Counts iterations of one session. Not safe for concurrent use."""

    def __init__(self, config: ProfilerConfig) -> None:
        from torch.profiler import schedule

        wait = warmup = 0
        limit, self.cause = config.max_iterations, BY_ITERATIONS
        if config.wait_iterations or config.warmup_iterations:
            wait, warmup = config.wait_iterations, config.warmup_iterations
            if not limit or config.active_iterations < limit:
                limit, self.cause = config.active_iterations, BY_SCHEDULE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice to warm up is the user's to take
            self._action: Callable[[int], Any] = schedule(
                skip_first=config.delay_iterations,
                wait=wait,
                warmup=warmup,
                active=limit or _ENDLESS,
                repeat=1,
            )
        self._step = 0
        self.recorded = 0  # iterations that ended inside the window

    def _is(self, *names: str) -> bool:
        return self._action(self._step).name in names

    def start(self) -> str:
        """The agreed instant: OPEN to record now, WARM to prepare, else STAY."""
        return self._enter("NONE")

    def iteration_end(self) -> str:
        """Count an iteration that has ended; SHUT says that the window is over."""
        was = self._action(self._step).name
        self._step += 1
        if was in ("RECORD", "RECORD_AND_SAVE"):
            self.recorded += 1
            return SHUT if was == "RECORD_AND_SAVE" else STAY
        return self._enter(was)

    def _enter(self, before: str) -> str:
        if self._is("RECORD", "RECORD_AND_SAVE"):
            return OPEN
        return WARM if self._is("WARMUP") and before != "WARMUP" else STAY
