"""Which epoch's weights stay, by the curves of a training."""

import math


def best_epoch(history: list[dict], monitor: str) -> int:
    """The epoch with the largest value of `monitor`, or the last one where there is none, as
    without a validation split; from 0.

    Of epochs that are equal the one with the smallest "val_loss" is chosen, and then the first:
    among a few pictures the first epoch may be as accurate as the last, and far less sure.

    Args:
        history: the curves' values, a dictionary an epoch; at least one.
        monitor: the name of a curve.
    """
    if monitor not in history[0]:
        return len(history) - 1
    metrics = [(_rank(logs[monitor]), _rank(-logs.get("val_loss", 0.0))) for logs in history]
    return metrics.index(max(metrics))


def _rank(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def selection_record(
    history: list[dict], monitor: str, seconds: float, first_epoch: int = 0
) -> dict:
    """What a record says of it: epochs run, the epoch chosen (from 1) and how, seconds.

    Args:
        first_epoch: epochs of earlier stages.
    """
    validated = monitor in history[0]
    return {
        "epochs": len(history),
        "chosen_epoch": first_epoch + best_epoch(history, monitor) + 1,
        "chosen_by": f"best {monitor}" if validated else "last epoch (no validation split)",
        "seconds": round(seconds, 3),
    }
