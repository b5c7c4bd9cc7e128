"""What the benchmarks measure with."""

import json
import subprocess
import sys
import time
from pathlib import Path


def seconds(function, *args):
    """Seconds that a call takes."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def status_bytes(key):
    """VmRSS, the resident memory, or VmHWM, its highest so far; NaN where /proc does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def in_own_process(script, *arguments):
    """What `python script arguments` prints in its last line, as JSON."""
    command = [sys.executable, script, *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])
