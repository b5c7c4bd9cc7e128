"""A Python version that cannot run the program is refused before anything is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = """
import runpy, sys
sys.path.insert(0, {root!r})
sys.version_info, sys.argv = {version}, [{script!r}]
try:
    runpy.run_path({root!r} + "/" + {script!r}, run_name="__main__")
finally:
    assert "hydra" not in sys.modules and "tensorflow" not in sys.modules
"""


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "predict.py", "export.py"])
@pytest.mark.parametrize("version", [(3, 14, 0, "final", 0), (3, 10, 4, "final", 0)])
def test_an_unsupported_version_is_refused_in_one_line(script, version):
    program = RUN.format(root=str(ROOT), script=script, version=version)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    used = ".".join(map(str, version[:2]))
    assert done.stderr == f"error: Python {used}: needs Python 3.11, 3.12 or 3.13\n"
