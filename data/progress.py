"""A progress bar with the rate and the remaining time."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Result = TypeVar("Result")


def progress(total: int, description: str, unit: str = "image", delay: float = 0) -> tqdm:
    """A bar on a terminal; in a log file, a line at most every 20 seconds.

    Nothing is shown in the first `delay` seconds.
    """
    interval = 0.1 if sys.stderr.isatty() else 20
    return tqdm(
        total=total, desc=description, unit=unit, mininterval=interval, miniters=1, delay=delay
    )


def map_images(
    function: Callable[[int], Result], indices: Sequence[int], description: str, delay: float = 0
) -> Iterator[Result]:
    """Yields `function(index)` for each image in order, computed by as many threads as cores."""
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress(len(indices), description, delay=delay) as bar,
    ):
        for result in pool.map(function, indices):
            yield result
            bar.update()
