"""What several tests put in place of a rank's surroundings."""

from __future__ import annotations

from kinetoscope import wire


class Sent:
    """A rank that keeps what is published."""

    def __init__(self) -> None:
        self.messages: list[wire.Message] = []

    def publish(self, subject: str, data: bytes) -> None:
        """Keep a message, wherever it goes."""
        self.messages.append(wire.decode(data))
