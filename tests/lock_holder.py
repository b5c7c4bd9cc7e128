"""Another process that holds a lock."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from {module} import {function}

with {function}(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holding(module: str, function: str, path: Path) -> Iterator[subprocess.Popen]:
    """Holds `function(path)` in a process of its own, until its standard input is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD.format(module=module, function=function), path],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()
