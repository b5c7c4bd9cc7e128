"""Which epoch's weights stay, and what the record says of it."""

import pytest

from training.epoch_selection import best_epoch, selection_record

NAN = float("nan")


def curves(*accuracies: float) -> list[dict]:
    return [{"loss": 1.0, "val_accuracy": accuracy} for accuracy in accuracies]


@pytest.mark.parametrize(
    ("accuracies", "best"), [((0.2,), 0), ((0.2, 0.5, 0.4), 1), ((0.5, 0.2, 0.5), 0)], ids=str
)
def test_the_first_of_the_best_epochs_is_chosen(accuracies, best):
    assert best_epoch(curves(*accuracies), "val_accuracy") == best


@pytest.mark.parametrize(
    ("losses", "best"),
    [((0.9, 0.3, 0.5, 0.1), 1), ((0.9, 0.3, 0.3, 0.1), 1), ((NAN, NAN, 0.5, 0.1), 2)],
    ids=str,
)
def test_of_equal_epochs_the_one_with_the_smallest_validation_loss(losses, best):
    history = curves(0.8, 0.8, 0.8, 0.7)
    for logs, loss in zip(history, losses, strict=True):
        logs["val_loss"] = loss
    assert best_epoch(history, "val_accuracy") == best


def test_a_metric_that_is_no_number_is_worse_than_any():
    assert best_epoch(curves(NAN, 0.0, NAN), "val_accuracy") == 1


def test_without_the_metric_it_is_the_last_one():
    assert best_epoch(curves(0.9, 0.1, 0.2), "val_recall_at_1") == 2


def test_a_record_counts_from_one_and_over_stages():
    assert selection_record(curves(0.2, 0.5, 0.4), "val_accuracy", 1.23456, first_epoch=10) == {
        "epochs": 3,
        "chosen_epoch": 12,
        "chosen_by": "best val_accuracy",
        "seconds": 1.235,
    }
    without = selection_record([{"loss": 1.0}] * 3, "val_accuracy", 0.0)
    assert without["chosen_epoch"] == 3
    assert without["chosen_by"] == "last epoch (no validation split)"
