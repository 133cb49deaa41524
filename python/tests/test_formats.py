"""What `kinetoscope convert` writes, read by those for whom it is written."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "analysis" / "testdata" / "torch_cpu.json.gz"
SPEEDSCOPE = "speedscope@1.25.0"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not shutil.which("go") or not TRACE.exists():
        pytest.skip("needs Go and the repository")
    path = tmp_path_factory.mktemp("bin") / "kinetoscope"
    subprocess.run(["go", "build", "-o", path, "./cmd/kinetoscope"], cwd=ROOT, check=True)
    return str(path)


def convert(program: str, out: Path, trace: Path = TRACE) -> Path:
    subprocess.run([program, "convert", trace, "-o", out], check=True, capture_output=True)
    return out


def slices(program: str, tmp_path: Path) -> Any:
    pyarrow_ipc = pytest.importorskip("pyarrow.ipc")
    return pyarrow_ipc.open_file(convert(program, tmp_path / "t.arrow")).read_all()


def test_parquet(program: str, tmp_path: Path) -> None:
    """pyarrow reads the rows of the Arrow file; DuckDB sums them."""
    parquet = pytest.importorskip("pyarrow.parquet")
    want = slices(program, tmp_path)
    path = convert(program, tmp_path / "t.parquet")
    got = parquet.read_table(path)
    assert got.num_rows == want.num_rows > 100
    assert got.column_names == want.column_names
    for name in got.column_names:
        assert got[name].to_pylist() == want[name].to_pylist(), name
    group = parquet.ParquetFile(path).metadata.row_group(0)
    for i, name in enumerate(got.column_names):
        column = group.column(i)
        assert column.statistics.null_count == want[name].null_count, name
        if name in ("ts", "dur", "name"):
            values = want[name].to_pylist()
            assert (column.statistics.min, column.statistics.max) == (min(values), max(values)), name
    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.sql(f"select name, count(*), sum(dur) from '{path}' group by name").fetchall()
    calls = Counter(want["name"].to_pylist())
    assert {name: n for name, n, _ in rows} == dict(calls)
    assert sum(ns for _, _, ns in rows) == sum(want["dur"].to_pylist())
    least = min(want["ts"].to_pylist())
    assert duckdb.sql(f"select count(*) from '{path}' where ts < {least}").fetchall() == [(0,)]


def test_perfetto(program: str, tmp_path: Path) -> None:
    """Perfetto's own definitions know every field, and the slices are those of the trace."""
    definitions = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    trace = definitions.Trace()
    trace.ParseFromString(convert(program, tmp_path / "t.pftrace").read_bytes())
    packets = []
    for packet in trace.packet:
        if packet.HasField("compressed_packets"):
            inner = definitions.Trace()
            inner.ParseFromString(zlib.decompress(packet.compressed_packets))
            packets += inner.packet
        else:
            packets.append(packet)
    unknown = pytest.importorskip("google.protobuf.unknown_fields")
    names: dict[int, str] = {}
    keys: dict[int, str] = {}
    began: Counter[str] = Counter()
    open_slices: Counter[int] = Counter()
    tracks = {p.track_descriptor.uuid for p in packets if p.HasField("track_descriptor")}
    for p in packets:
        assert len(unknown.UnknownFieldSet(p)) == 0, p
        names |= {n.iid: n.name for n in p.interned_data.event_names}
        keys |= {n.iid: n.name for n in p.interned_data.debug_annotation_names}
        if not p.HasField("track_event"):
            continue
        event = p.track_event
        assert len(unknown.UnknownFieldSet(event)) == 0, event
        assert event.track_uuid in tracks
        if event.type == event.TYPE_SLICE_BEGIN:
            began[names[event.name_iid]] += 1
            open_slices[event.track_uuid] += 1
            for a in event.debug_annotations:
                assert a.name or a.name_iid in keys, a
        elif event.type == event.TYPE_SLICE_END:
            open_slices[event.track_uuid] -= 1
            assert open_slices[event.track_uuid] >= 0
    assert not +open_slices, "every slice ends"
    assert began == Counter(slices(program, tmp_path)["name"].to_pylist())


def test_workbook(program: str, tmp_path: Path) -> None:
    """openpyxl reads the operators and their calls."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.load_workbook(convert(program, tmp_path / "t.xlsx"))
    cells = [[c.value for c in row] for sheet in book for row in sheet.iter_rows()]
    calls = slices(program, tmp_path)["name"].to_pylist().count("aten::randn")
    rows = [row for row in cells if "aten::randn" in row]
    assert rows
    assert any(calls in row for row in rows), rows


def test_speedscope(program: str, tmp_path: Path) -> None:
    """The file is valid by the schema that speedscope publishes, and its frames open and close."""
    jsonschema = pytest.importorskip("jsonschema")
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("needs npm")
    command = [npm, "pack", "--silent", SPEEDSCOPE]
    packed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if packed.returncode:
        pytest.skip(f"npm does not deliver speedscope: {packed.stderr}")
    with tarfile.open(tmp_path / packed.stdout.strip().splitlines()[-1]) as tar:
        file = tar.extractfile("package/dist/release/file-format-schema.json")
        assert file
        schema = json.load(file)
    doc = json.loads(convert(program, tmp_path / "t.speedscope.json").read_text())
    jsonschema.validate(doc, schema)
    assert doc["profiles"]
    for profile in doc["profiles"]:
        stack: list[int] = []
        at = profile["startValue"]
        for event in profile.get("events", []):
            assert at <= event["at"] <= profile["endValue"]
            at = event["at"]
            if event["type"] == "O":
                stack.append(event["frame"])
            else:
                assert stack.pop() == event["frame"]
        assert not stack
