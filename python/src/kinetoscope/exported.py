"""What a recorder leaves when it exports."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

# A trace shrinks twenty-fold with it; higher levels cost time for little.
GZIP_LEVEL = 3


@dataclass
class Made:
    """One file that an export made. name is without the rank: "trace.json.gz"."""

    name: str
    kind: str
    path: Path


@dataclass
class Exported:
    """What an export made, and what it could not make."""

    files: list[Made] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    slices: int = 0
    dropped: int = 0


def create(path: Path) -> BinaryIO:
    """Open a new file, packed if its name says so anywhere: "trace.json.gz.part"."""
    if ".gz" in path.suffixes:
        return cast(BinaryIO, gzip.open(path, "wb", GZIP_LEVEL))
    return path.open("wb")
