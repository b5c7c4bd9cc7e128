"""Which epoch's weights stay, and what the record says of it."""

import pytest

from training.choosing import best_epoch, choice


def curves(*accuracies: float) -> list[dict]:
    return [{"loss": 1.0, "val_accuracy": accuracy} for accuracy in accuracies]


@pytest.mark.parametrize(
    ("accuracies", "best"), [((0.2,), 0), ((0.2, 0.5, 0.4), 1), ((0.5, 0.2, 0.5), 0)], ids=str
)
def test_the_first_of_the_best_epochs_is_chosen(accuracies, best):
    assert best_epoch(curves(*accuracies), "val_accuracy") == best


def test_without_the_figure_it_is_the_last_one():
    assert best_epoch(curves(0.9, 0.1, 0.2), "val_recall_at_1") == 2


def test_a_record_counts_from_one_and_over_stages():
    assert choice(curves(0.2, 0.5, 0.4), "val_accuracy", 1.23456, first_epoch=10) == {
        "epochs": 3, "chosen_epoch": 12, "chosen_by": "best val_accuracy", "seconds": 1.235,
    }
    without = choice([{"loss": 1.0}] * 3, "val_accuracy", 0.0)
    assert without["chosen_epoch"] == 3
    assert without["chosen_by"] == "last epoch (no validation split)"
