"""What several tests put in place of a rank's surroundings."""

from __future__ import annotations

import subprocess
import sys
import types
from typing import Any

import pytest

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


class Hub:
    """Stands for what a server's workers join: it keeps what each asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, Any]] = []
        self.attached = Attached()
        monkeypatch.setattr("kinetoscope.attach", self.attach)
        monkeypatch.setattr("threading.Thread", Now)  # a worker joins in a thread of its own

    def attach(self, stage: str, **kwargs: Any) -> Attached:
        """Let a worker in."""
        self.asked.append({"stage": stage, **kwargs})
        return self.attached


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """Put an empty module in the place of an engine's, and empty packages in those above it."""
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        path = ".".join(parts[:n])
        monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    return sys.modules[name]


def imports(module: str, *heavy: str) -> list[str]:
    """Tell which of the heavy packages a fresh interpreter has imported with a module."""
    code = f"import sys, {module}; print(*[m for m in {heavy} if m in sys.modules])"
    return subprocess.check_output([sys.executable, "-c", code], text=True).split()
