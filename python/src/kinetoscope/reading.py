"""Traces as tables, in one line of a notebook.

    import kinetoscope
    steps = kinetoscope.read("latest", "steps").to_pandas()

The program `kinetoscope` reads the traces and hands the table over as an Arrow stream, so that whatever
it reads (docs/formats.md) is read here, and means the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

PROGRAM = "KINETOSCOPE"
"""The environment variable with the path of the program, where it is not in PATH."""


class ReadError(Exception):
    """What the program says that kept it from reading."""


def _name(path: str) -> str:
    """Return a path that no flag is mistaken for."""
    return os.path.join(".", path) if path.startswith("-") else path


def read(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    table: str = "slices",
    *,
    options: Iterable[str] = (),
    program: str | None = None,
) -> pyarrow.Table:
    """Read a table of traces, directories of ranks or runs ("latest").

    table is one of docs/sql.md: slices, tracks, flows, counters, instants, ops, kernels, steps, ranks,
    requests, findings. Times are integers of ns. options are further ones of `kinetoscope convert`, as
    "--stage=talker". The result's to_pandas() and polars.from_arrow(result) make data frames of it. Needs
    pyarrow.
    """
    import pyarrow.ipc

    found = program or os.environ.get(PROGRAM) or shutil.which("kinetoscope")
    if not found:
        raise ReadError(f"the program kinetoscope is not in PATH; put it there or name it in {PROGRAM}")
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise ReadError("of which traces? Give a file, a directory or a run")
    command = [
        found,
        "convert",
        "--output=-",
        f"--table={table}",
        *options,
        *(_name(os.fspath(p)) for p in given),
    ]
    # What it says goes to a file: a pipe that nobody reads would stop it.
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process,
    ):
        assert process.stdout is not None
        result: Any = None
        broken: Exception | None = None
        try:
            with pyarrow.ipc.open_stream(process.stdout) as stream:
                result = stream.read_all()
        except pyarrow.ArrowInvalid as e:
            broken = e
        process.stdout.close()
        code = process.wait()
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    if code != 0 or broken is not None:
        raise ReadError(text or f"{found} ended with code {code}: {broken}")
    return result
