"""The progress bar of a stage, on a terminal and in a log file."""

import os
import signal
import time

import pytest
from pseudo_terminal import terminal

from commands.running import exit_when_terminated, run_command
from errors import UserError
from training.stage_progress import StageProgress

ACCURACIES = (0.5, 0.75, 0.625)


@pytest.fixture
def clock(monkeypatch):
    """Sets the time that bars read, in seconds."""
    now = [1000.0]
    for name in ("time.time", "tqdm.std.time"):
        monkeypatch.setattr(name, lambda: now[0])

    def set_time(seconds: float) -> None:
        now[0] = 1000.0 + seconds

    return set_time


def validated(accuracy: float) -> dict[str, float]:
    return {"loss": 2.0, "val_loss": 1.0, "val_accuracy": accuracy}


def bar_of(history: list, epochs: int = 3, steps: int = 10, **options) -> StageProgress:
    return StageProgress("head", epochs, steps, history, "val_accuracy", **options)


def end_epoch(bar: StageProgress, metrics: dict[str, float]) -> None:
    bar.history.append(metrics)
    bar.on_epoch_end(len(bar.history) - 1)


# In a log file


def test_a_quick_stage_is_one_line_with_the_last_and_the_best_accuracy(capsys, clock):
    with bar_of([]) as bar:
        for accuracy in ACCURACIES:
            end_epoch(bar, validated(accuracy))
        clock(12)
    printed = capsys.readouterr().out
    assert printed == "head: 100%|##########| 3/3 epochs in 00:12, accuracy 0.625, best 0.750\n"


def test_the_best_accuracy_can_be_that_of_the_start(capsys, clock):
    with bar_of([], start=validated(0.7)) as bar:
        for accuracy in (0.5, 0.6, 0.65):
            end_epoch(bar, validated(accuracy))
    assert capsys.readouterr().out.endswith("accuracy 0.650, best 0.700\n")


def test_a_long_stage_is_a_line_every_20_seconds_with_the_time_left(capsys, clock):
    with bar_of([], epochs=12) as bar:
        for epoch in range(12):
            clock(5 * (epoch + 1))
            end_epoch(bar, validated(0.5))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("| ")[2].partition(", accuracy")[0] for line in lines] == [
        "4/12 epochs, 00:40 left",
        "8/12 epochs, 00:20 left",
        "12/12 epochs, 00:00 left",
        "12/12 epochs in 01:00",
    ]


def test_without_validation_it_shows_the_training_loss(capsys):
    with bar_of([], epochs=1) as bar:
        end_epoch(bar, {"loss": 0.01234567})
    assert capsys.readouterr().out.endswith(", loss 0.01235\n")


def test_early_stopping_is_said(capsys):
    with bar_of([]) as bar:
        end_epoch(bar, validated(0.5))
    assert "| 1/3 epochs in 00:00, accuracy 0.500, best 0.500, stopped early" in (
        capsys.readouterr().out
    )


def test_an_epoch_that_takes_long_is_counted_by_its_steps(capsys, clock):
    with bar_of([], steps=8) as bar:
        for step in range(4):
            clock(10 * (step + 1))
            bar.on_train_batch_end(step)
        for step in range(4, 8):
            bar.on_train_batch_end(step)
        clock(80)
        end_epoch(bar, validated(0.5))
    assert [line.partition("| ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "0.25/3 epochs, 03:40 left",
        "0.5/3 epochs, 03:20 left",
        "1/3 epochs, 02:40 left, accuracy 0.500, best 0.500",
        "1/3 epochs in 01:20, accuracy 0.500, best 0.500, stopped early",
    ]


def test_a_bar_that_is_not_to_stay_leaves_no_line(capsys):
    with bar_of([], epochs=1, leave=False) as bar:
        end_epoch(bar, validated(0.5))
    assert capsys.readouterr().out == ""


# On a terminal


def test_a_resumed_stage_begins_at_its_epoch():
    history = [validated(accuracy) for accuracy in ACCURACIES]
    with terminal() as shown, bar_of(history, epochs=4):
        pass
    first = shown[0].split("\r")[1]
    assert first.startswith("head:  75%|")
    assert first.endswith("| 3/4 epochs, ? left, accuracy 0.625, best 0.750")


def test_quick_steps_and_epochs_do_not_draw(clock):
    with terminal() as shown, bar_of([], steps=1) as bar:
        for epoch in range(3):
            clock(0.01 * epoch)
            bar.on_train_batch_end(0)
            end_epoch(bar, validated(0.5))
    first, last = shown[0].strip().split("\r")
    assert "| 0/3 epochs" in first and "| 3/3 epochs" in last


@pytest.mark.slow
def test_the_message_of_an_error_begins_its_line():
    def main():
        with bar_of([]) as bar:
            end_epoch(bar, validated(0.5))
            raise UserError("the loss became nan")

    with terminal() as shown, pytest.raises(SystemExit):
        run_command(main)
    last, message, end = shown[0].split("\r\n")
    assert last.endswith("| 1/3 epochs in 00:00, accuracy 0.500, best 0.500")
    assert (message, end) == ("error: the loss became nan", "")


def test_the_message_of_a_signal_begins_its_line():
    with (
        terminal() as shown,
        pytest.raises(SystemExit, match="75"),
        exit_when_terminated(),
        bar_of([]),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)  # the signal interrupts it
    last, message, end = shown[0].split("\r\n")
    assert last.endswith("| 0/3 epochs in 00:00") and message.startswith("terminated")
    assert end == ""
