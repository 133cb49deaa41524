from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kinetoscope.reading import ReadError, read

pytest.importorskip("pyarrow")

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "analysis" / "testdata" / "torch_cpu.json.gz"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not shutil.which("go") or not TRACE.exists():
        pytest.skip("needs Go and the repository")
    path = tmp_path_factory.mktemp("bin") / "kinetoscope"
    subprocess.run(["go", "build", "-o", path, "./cmd/kinetoscope"], cwd=ROOT, check=True)
    return str(path)


def test_tables(program: str) -> None:
    slices = read(TRACE, program=program)
    ops = read([TRACE], "ops", program=program)
    assert slices.num_rows > 100
    assert slices.schema.field("dur").metadata[b"doc"] == b"duration, ns"
    names = [
        n
        for n, c in zip(slices["name"].to_pylist(), slices["category"].to_pylist(), strict=True)
        if c == "cpu_op"
    ]
    by_name = dict(zip(ops["name"].to_pylist(), ops["calls"].to_pylist(), strict=True))
    assert by_name["aten::randn"] == names.count("aten::randn") > 0
    ranks = read(TRACE, "ranks", program=program)
    assert ranks["slices"].to_pylist() == [slices.num_rows]
    assert read(TRACE, options=["--name=^aten::randn$"], program=program).num_rows == names.count(
        "aten::randn"
    )


def test_polars(program: str) -> None:
    polars = pytest.importorskip("polars")
    table = read(TRACE, program=program)
    frame = polars.from_arrow(table)
    assert frame.height == table.num_rows
    assert frame["dur"].sum() == sum(table["dur"].to_pylist())
    by_name = (
        frame.group_by("name").agg(polars.len().alias("calls")).filter(polars.col("name") == "aten::randn")
    )
    assert by_name["calls"].to_list() == [table["name"].to_pylist().count("aten::randn")]


def test_errors(program: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such file"):
        read(tmp_path / "missing.json", program=program)
    with pytest.raises(ReadError, match="there are slices"):
        read(TRACE, "bogus", program=program)
    with pytest.raises(ReadError, match="of which traces"):
        read([], program=program)
