"""A progress bar with the rate and the remaining time."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

LOG_SECONDS = 20  # between two lines in a log file

Result = TypeVar("Result")


def progress(total: int, description: str, unit: str = "image", delay: float = 0) -> tqdm:
    """A bar on a terminal; in a log file, a line at most every 20 seconds and one at the end.

    Nothing is shown in the first `delay` seconds.
    """
    options = drawn_on(sys.stderr, delay)
    return tqdm(total=total, desc=description, unit=unit, miniters=1, **options)


def drawn_on(stream: TextIO, delay: float = 0) -> dict[str, Any]:
    """Returns the options of `tqdm` with which a bar suits a terminal, or a file or pipe.

    Args:
        stream: where the bar is drawn.
        delay: seconds in which nothing is shown.
    """
    if stream.isatty():
        columns, lines = os.get_terminal_size(stream.fileno())
        # Without a size, as under `script` in a pipe, tqdm would draw nothing.
        size = {"ncols": (columns or 80) - 1, "nrows": lines or 24}
        return {"file": stream, "mininterval": 0.1, "delay": delay, **size}
    # With any delay tqdm writes no line for a bar that has just begun; this one adds up to none.
    delay = delay or sys.float_info.min
    return {"file": _Lines(stream), "mininterval": LOG_SECONDS, "delay": delay}


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


class _Lines:
    """Writes each state of a bar as a line: tqdm begins it with a carriage return."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        if text := text.strip():
            self.stream.write(f"{text}\n")

    def flush(self) -> None:
        self.stream.flush()
