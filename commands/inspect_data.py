"""Reads all images of a configuration's data, compares them, and writes what they show."""

from collections.abc import Callable
from pathlib import Path

from commands.running import import_tensorflow
from conf.schema import Config, Task
from data.catalog import ENTRIES
from data.datasets import Dataset, open_all_images, open_dataset
from data.decoding import warn_of_missing_ends
from data.inspection import inspect_images
from errors import UserError
from reporting.data_page import check_page, write_page
from reporting.data_summary import summary_text


def inspect_data(config: Config, page: Path, show: Callable[[str], object]) -> None:
    """Inspects the data of a run, in the splits of the run, and writes the page.

    Data that `train.py` refuses, such as a class that is too small to be split, are inspected in
    the splits that they define.

    Args:
        config: of the run.
        page: the file; see `check_page`.
        show: is called with the summary as text, before the page is written: it is known even if
            writing fails.

    Raises:
        UserError: the data cannot be read or have no images, or see `check_page`, `write_page`.
    """
    check_page(page)
    if config.data.name in ENTRIES:
        import_tensorflow()  # for TFDS, without its start-up messages
    dataset, refusal = _open(config)
    inspection = inspect_images(dataset, config.data)
    warn_of_missing_ends()
    show(summary_text(inspection, refusal))
    write_page(page, inspection, config.data, refusal)


def _open(config: Config) -> tuple[Dataset, str]:
    """Opens the data, and returns why `train.py` would refuse it; empty if it would not."""
    try:
        disjoint_classes = config.task is Task.metric_learning
        return open_dataset(config.data, config.seed, disjoint_classes), ""
    except UserError as error:
        return open_all_images(config.data), str(error)
