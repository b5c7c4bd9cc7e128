"""A progress bar for long work, with its rate and the time left."""

import sys

from tqdm import tqdm


def progress(total: int, description: str, unit: str = "picture") -> tqdm:
    """A bar on a terminal; in a log file, a line now and then."""
    interval = 0.1 if sys.stderr.isatty() else 20
    return tqdm(total=total, desc=description, unit=unit, mininterval=interval, miniters=1)
