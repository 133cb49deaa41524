"""What the plugins of serving engines share: one worker of a server that joins a hub as a rank.

Importing it imports nothing that an engine has not: torch and the hub's client come with the thread
that joins.

    KINETOSCOPE_URL         where the hub is: nats://TOKEN@host:4222 or tls://…, as serve prints it; any
                            other value has it looked for at KINETOSCOPE_NATS, then on this host
    KINETOSCOPE_STAGE_NAME  the stage's name, the engine's without it; KINETOSCOPE_STAGE its number. Of a
                            server with several stages each has the number and name that the server
                            gives it, and the variables are not for it
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

# How long one attempt waits for a hub, and how long the next one is put off.
_ATTEMPT_S = 30.0
_AGAIN_S = 10.0
# The requests of a step that its label names: a large batch has hundreds.
MAX_NAMED = 64


def wanted() -> bool:
    """Whether the environment asks for ranks: without it a plugin does nothing."""
    return bool(os.environ.get("KINETOSCOPE_URL"))


# A stage's number, name and type; None as the number has the environment asked.
Stage = tuple[int | None, str, str]


class Worker:
    """One worker, which becomes a rank as soon as a hub is there."""

    def __init__(self, engine: str, place: tuple[int, int, int], stage: Stage | None = None) -> None:
        self.attached: Any = None
        self._engine = engine
        self._stage = stage or (None, engine, "llm")
        self._log = logging.getLogger(f"kinetoscope.{engine}")
        self.busy = False  # in a step
        self._steps = 0
        self._rank, self._replica, self._world = place
        threading.Thread(target=self._join, name="kinetoscope-join", daemon=True).start()

    def _join(self) -> None:
        import kinetoscope
        from kinetoscope import protocol

        url = os.environ["KINETOSCOPE_URL"]
        nats = url if url.split("://", 1)[0] in ("nats", "tls") else ""
        said = ""
        number, name, kind = self._stage
        if number is None:
            number = int(os.environ.get("KINETOSCOPE_STAGE", "0"))
            name = os.environ.get("KINETOSCOPE_STAGE_NAME", name)
        while self.attached is None:
            try:
                self.attached = kinetoscope.attach(
                    name,
                    nats=nats,
                    stage_id=number,
                    stage_type=kind,
                    config=protocol.ProfilerConfig(profiler="torch", torch_profiler_with_stack=False),
                    rank=self._rank,
                    replica=self._replica,
                    world_size=self._world,
                    timeout_s=_ATTEMPT_S,
                )
                self._log.warning(
                    "joined as rank %d of %d, replica %d", self._rank, self._world, self._replica
                )
            except Exception as e:
                if str(e) != said:
                    said = str(e)
                    self._log.warning("no hub yet; it is looked for again: %s", e)
                threading.Event().wait(_AGAIN_S)

    def region(self, name: str, requests: str = "") -> AbstractContextManager[Any]:
        """The region of one step, with the ids of its requests joined by commas."""
        from kinetoscope import regions

        return regions.annotate(name, step=self._steps, requests=requests)

    def step(self) -> None:
        """One step has ended."""
        self._steps += 1
        self.attached.step()


def run_step(
    owner: Any, text: Callable[[Any], tuple[str, str]], work: Any, fallback: str, run: Callable[[], Any]
) -> Any:
    """Run one step of the engine's object that join was called with; until that is a rank, only run it.

    Text tells the label of the step's work and the ids of its requests. A release that words its work
    differently has the label fallback.
    """
    rank = owner.__dict__.get("_kinetoscope_rank")
    if rank is None or rank.attached is None or rank.busy:
        return run()
    try:
        name, requests = text(work)
    except AttributeError:
        name, requests = fallback, ""
    rank.busy = True  # one method of an engine's object may run another one
    try:
        with rank.region(name, requests):
            result = run()
    finally:
        rank.busy = False
    rank.step()
    return result


def join(
    owner: Any,
    engine: str,
    what: str,
    place: Callable[[], tuple[int, int, int]],
    stage: Callable[[], Stage | None] = lambda: None,
) -> None:
    """Have what owner is, as messages call it, join at its place: rank, replica, ranks of a replica.

    Stage tells which one of a server with several stages it is, None of a server that has one.
    """
    try:
        owner._kinetoscope_rank = Worker(engine, place(), stage())
    except Exception:  # whatever a release has changed, the server goes on
        logging.getLogger(f"kinetoscope.{engine}").exception("this %s does not join", what)
