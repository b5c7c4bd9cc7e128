"""Selects the epoch whose weights a training keeps, and decides on early stopping."""

import math


def best_epoch(history: list[dict], monitor: str) -> int:
    """Returns the epoch, from 0, with the largest value of `monitor`.

    Among equal epochs, the one with the smallest "val_loss" is best, and then the first one:
    with few images the first epoch can be as accurate as the last one, and far less certain. NaN is
    worse than any number. Without `monitor`, as without a validation split, the last epoch is best.

    Args:
        history: metrics of each epoch; at least one epoch.
        monitor: name of a metric.
    """
    if monitor not in history[0]:
        return len(history) - 1

    def score(epoch: int) -> list[float]:
        values = history[epoch][monitor], -history[epoch].get("val_loss", 0.0)
        return [-math.inf if math.isnan(value) else value for value in values]

    return max(range(len(history)), key=score)


def stopped_early(history: list[dict], monitor: str, patience: int | None) -> bool:
    """Returns whether the last `patience` epochs were no better than one before them.

    Args:
        history: metrics of each epoch so far.
        monitor: see `best_epoch`.
        patience: number of epochs; with `None`, training never stops early.
    """
    if patience is None or not history:
        return False
    return len(history) - 1 - best_epoch(history, monitor) >= patience


def selection_record(
    history: list[dict], monitor: str, seconds: float, first_epoch: int = 0
) -> dict:
    """Returns what a stage's record says of its length and its selected epoch.

    Args:
        history: see `best_epoch`.
        monitor: see `best_epoch`.
        seconds: duration of the training.
        first_epoch: number of epochs of earlier stages.

    Returns:
        "epochs": number of epochs; "chosen_epoch": the selected one, from 1, earlier stages
        included; "chosen_by": the reason; "seconds", rounded to milliseconds.
    """
    validated = monitor in history[0]
    return {
        "epochs": len(history),
        "chosen_epoch": first_epoch + best_epoch(history, monitor) + 1,
        "chosen_by": f"best {monitor}" if validated else "last epoch (no validation split)",
        "seconds": round(seconds, 3),
    }
