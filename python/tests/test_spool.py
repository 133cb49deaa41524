from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kinetoscope import spool

_HOLDS = """
import sys, time
from kinetoscope import spool
s = spool.make()
(s.path / "session" / "parts").mkdir(parents=True)
if sys.argv[1]:
    (s.path / "session" / sys.argv[1]).write_text("x")
print(s.path, flush=True)
time.sleep(600)
"""


def _process(what: str) -> tuple[subprocess.Popen[str], Path]:
    p = subprocess.Popen([sys.executable, "-c", _HOLDS, what], stdout=subprocess.PIPE, text=True)
    assert p.stdout is not None
    return p, Path(p.stdout.readline().strip())


def _kill(p: subprocess.Popen[str]) -> None:
    p.kill()
    p.communicate()


def test_spools_of_killed_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One goes with the next that is made, unless a recording is in it; a living process's stays."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    empty, empty_dir = _process("")
    full, full_dir = _process("recording")
    living, living_dir = _process("")
    try:
        _kill(empty)
        _kill(full)
        (tmp_path / "kinetoscope-spool-link").symlink_to(living_dir)
        own = spool.make()
        assert not empty_dir.exists()
        assert full_dir.exists()
        assert living_dir.exists()
        assert own.path.exists()
        found = spool.abandoned()
        assert [s.path for s in found] == [full_dir]
        assert [f.name for f in found[0].leave()] == ["recording"]
        assert own.leave() == []
        assert not own.path.exists()
    finally:
        _kill(living)
