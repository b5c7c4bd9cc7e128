"""Refuses a Python version that cannot run the program, before anything else is imported."""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):  # on 3.14 every released Hydra fails to start
    used = ".".join(map(str, sys.version_info[:2]))
    print(f"error: Python {used}: needs Python 3.11, 3.12 or 3.13", file=sys.stderr)
    sys.exit(2)
