"""What several tests put in place of a rank's surroundings."""

from __future__ import annotations

from typing import Any

from kinetoscope import wire


class Sent:
    """A rank that keeps what is published."""

    def __init__(self) -> None:
        self.messages: list[wire.Message] = []

    def publish(self, subject: str, data: bytes) -> None:
        """Keep a message, wherever it goes."""
        self.messages.append(wire.decode(data))


class Attached:
    """What a server's worker has joined as; it counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> None:
        """Count a step."""
        self.steps += 1


class Now:
    """A thread that runs when it is started."""

    def __init__(self, target: Any, **_: Any) -> None:
        self.start = target
