"""Every notebook runs from its first cell to its last, and is kept with its outputs."""

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SLOW = {  # run every night only
    "01_why_it_stays_at_30_percent",
    "02_the_matrix_square_root",
    "03_read_a_sweep",
    "04_your_own_images",
    "06_probe_a_foundation_model",
}
EACH = [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in SLOW)) for path in NOTEBOOKS]


@pytest.mark.notebook
@pytest.mark.parametrize("path", EACH, ids=lambda path: path.stem)
def test_a_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": path.parent}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_its_results(path):
    outputs = [
        output
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any(output.get("name") == "stdout" for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
