from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kinetoscope.reading import PROGRAM

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "notebook" / "traces.ipynb"
KERNEL_SECONDS = 300  # torch is imported, which takes its time on a machine that does other work


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("go") or not NOTEBOOK.exists():
        pytest.skip("needs Go and the repository")
    program = tmp_path / "kinetoscope"
    subprocess.run(["go", "build", "-o", program, "./cmd/kinetoscope"], cwd=ROOT, check=True)
    monkeypatch.setenv(PROGRAM, str(program))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    assert all(not c.get("outputs") for c in book.cells), "the notebook is kept without outputs"
    nbclient.NotebookClient(
        book,
        timeout=KERNEL_SECONDS,
        startup_timeout=KERNEL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    ).execute()
    shown = [c for c in book.cells if c.cell_type == "code" and c.outputs]
    assert len(shown) == sum(c.cell_type == "code" for c in book.cells)
    assert "aten::randn" in str(shown[-1].outputs)
