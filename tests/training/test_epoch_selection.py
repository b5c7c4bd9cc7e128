"""Selection of the epoch whose weights a training keeps, and the record of it."""

import pytest

from training.epoch_selection import best_epoch, selection_record

NAN = float("nan")


def history_of(*accuracies: float) -> list[dict]:
    return [{"loss": 1.0, "val_accuracy": accuracy} for accuracy in accuracies]


@pytest.mark.parametrize(
    ("accuracies", "best"), [((0.2,), 0), ((0.2, 0.5, 0.4), 1), ((0.5, 0.2, 0.5), 0)], ids=str
)
def test_the_first_of_the_best_epochs_is_chosen(accuracies, best):
    assert best_epoch(history_of(*accuracies), "val_accuracy") == best


@pytest.mark.parametrize(
    ("losses", "best"),
    [((0.9, 0.3, 0.5, 0.1), 1), ((0.9, 0.3, 0.3, 0.1), 1), ((NAN, NAN, 0.5, 0.1), 2)],
    ids=str,
)
def test_among_equal_epochs_the_smallest_validation_loss_decides(losses, best):
    history = history_of(0.8, 0.8, 0.8, 0.7)
    for logs, loss in zip(history, losses, strict=True):
        logs["val_loss"] = loss
    assert best_epoch(history, "val_accuracy") == best


def test_nan_is_worse_than_any_number():
    assert best_epoch(history_of(NAN, 0.0, NAN), "val_accuracy") == 1


def test_without_the_metric_the_last_epoch_is_chosen():
    assert best_epoch(history_of(0.9, 0.1, 0.2), "val_recall_at_1") == 2


def test_a_record_counts_epochs_from_one_and_those_of_earlier_stages():
    assert selection_record(history_of(0.2, 0.5, 0.4), "val_accuracy", 1.23456, first_epoch=10) == {
        "epochs": 3,
        "chosen_epoch": 12,
        "chosen_by": "best val_accuracy",
        "seconds": 1.235,
    }
    without = selection_record([{"loss": 1.0}] * 3, "val_accuracy", 0.0)
    assert without["chosen_epoch"] == 3
    assert without["chosen_by"] == "last epoch (no validation split)"
