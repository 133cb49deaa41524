"""Spools of processes that were given none: directories among the temporary files.

Each is its process's as long as that lives, by a lock that goes with the process however it ends. One
that nothing is left in goes with its process or, if that was killed, with the next process that makes
one; one with recordings stays until `kinetoscope recover` brings them home. Go's side, with the
same names and lock, is internal/tempspool.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path

log = logging.getLogger("kinetoscope.spool")

_PREFIXES = ("kinetoscope-spool-", "kinetoscope-rank-")
# In a spool; locked by the process whose spool it is.
_LOCK = ".lock"
# Bounds how often a new directory is made, where another process has swept one away before its lock
# was taken.
_TRIES = 10


class Spool:
    """A spool that this process holds."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path, self._lock = path, lock

    def leave(self) -> list[Path]:
        """Give it up and return the files that are left in it. Without any its directory is removed."""
        left = sorted(f for f in self.path.rglob("*") if f.name != _LOCK and not f.is_dir())
        if not left:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        return left


def make() -> Spool:
    """Make a spool, and remove those of dead processes in which nothing is left."""
    for s in abandoned():
        s.leave()
    for _ in range(_TRIES):
        path = Path(tempfile.mkdtemp(prefix=_PREFIXES[0]))
        if (own := _hold(path, os.O_CREAT)) is not None:
            return own
    raise OSError(f"each of {_TRIES} spools in {tempfile.gettempdir()} was removed at once")


def _hold(path: Path, flag: int) -> Spool | None:
    """Take a spool's lock; None if another process holds it, or it is gone or no spool."""
    try:
        lock = os.open(path / _LOCK, flag | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (path / _LOCK).exists():  # nobody removed it before it was locked
            return Spool(path, lock)
    os.close(lock)
    return None


def abandoned() -> list[Spool]:
    """Hold and return the spools of this user's processes that have ended without leave."""
    out = []
    for prefix in _PREFIXES:
        for path in Path(tempfile.gettempdir()).glob(prefix + "*"):
            # Whoever may write there may make a directory of that name, or a link to one.
            with contextlib.suppress(OSError):
                found = path.lstat()
                if not path.is_symlink() and path.is_dir() and found.st_uid == os.geteuid():
                    s = _hold(path, 0)
                    if s is not None:
                        out.append(s)
    return out
