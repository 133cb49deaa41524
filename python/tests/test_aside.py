from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kinetoscope import aside


def test_a_child_writes(tmp_path: Path) -> None:
    here = os.getpid()
    got = aside.run(lambda: {"pid": os.getpid()}, tmp_path)
    assert got is not None
    assert got["pid"] != here


def test_a_child_that_fails(tmp_path: Path) -> None:
    def write() -> dict[str, Any]:
        raise OSError("no space")

    assert aside.run(write, tmp_path) is None


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "STALLED_S", 0.2)
    assert aside.run(hang, tmp_path) is None


def hang() -> dict[str, Any]:
    time.sleep(60)
    return {}


@pytest.mark.parametrize("how", ["inline", "fork fails"])
def test_without_a_child(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "inline":
        monkeypatch.setenv("KINETOSCOPE_EXPORT", "inline")
    else:

        def fork() -> int:
            raise OSError("no more processes")

        monkeypatch.setattr(os, "fork", fork)
    assert aside.run(hang, tmp_path) is None


def test_this_process_goes_on_while_a_child_holds_its_lock(tmp_path: Path) -> None:
    """The child spins in Python; a thread here works on meanwhile."""
    steps = 0
    done = threading.Event()

    def work() -> None:
        nonlocal steps
        while not done.is_set():
            steps += 1
            time.sleep(0.001)

    def spin() -> dict[str, Any]:
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            pass
        return {"spun": True}

    t = threading.Thread(target=work)
    t.start()
    before = steps
    assert aside.run(spin, tmp_path) == {"spun": True}
    assert steps - before > 10
    done.set()
    t.join()
