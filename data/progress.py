"""A progress bar with the rate and the remaining time."""

import sys

from tqdm import tqdm


def progress(total: int, description: str, unit: str = "image", delay: float = 0) -> tqdm:
    """A bar on a terminal; in a log file, a line at most every 20 seconds.

    Nothing is shown in the first `delay` seconds.
    """
    interval = 0.1 if sys.stderr.isatty() else 20
    return tqdm(
        total=total, desc=description, unit=unit, mininterval=interval, miniters=1, delay=delay
    )
