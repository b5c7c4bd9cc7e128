"""The learning rate of a stage."""

import math
from types import SimpleNamespace

import pytest

from conf.schema import Optimizer, OptimizerConfig, Schedule
from training.schedules import LearningRateSchedule, schedule_factor

RATE = 0.5


def config(schedule: str, **options) -> OptimizerConfig:
    return OptimizerConfig(name=Optimizer.sgd, schedule=Schedule[schedule], **options)


def rates(
    options: OptimizerConfig,
    steps: int,
    epochs: int,
    losses=None,
    first_epoch: int = 0,
    metric: str = "val_loss",
) -> list[float]:
    """The learning rate of every step of a stage whose epochs have these losses."""
    schedule = LearningRateSchedule(options, RATE, steps, first_epoch, epochs)
    schedule.set_model(
        SimpleNamespace(steps_per_execution=1, optimizer=SimpleNamespace(learning_rate=None))
    )
    steps_rates = []
    for number in range(epochs):
        schedule.on_epoch_begin(first_epoch + number)
        for batch in range(steps):
            schedule.on_train_batch_begin(batch)
            steps_rates.append(schedule.model.optimizer.learning_rate)
        loss = losses[number] if losses else 1.0
        schedule.on_epoch_end(first_epoch + number, {"loss": 7.0, metric: loss})
    return steps_rates


def test_constant_does_not_change():
    assert rates(config("constant"), steps=3, epochs=4) == [RATE] * 12


def test_step_drops_by_the_factor_after_every_step_epochs():
    options = config("step", step_epochs=2, factor=0.1)
    expected = [RATE] * 4 + [RATE * 0.1] * 4 + [RATE * 0.01] * 2
    assert rates(options, steps=2, epochs=5) == pytest.approx(expected)


def test_cosine_falls_from_the_full_rate_to_0():
    expected = [RATE * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)]
    assert rates(config("cosine"), steps=4, epochs=5) == pytest.approx(expected)
    assert schedule_factor(config("cosine"), 5, 5) == pytest.approx(0)


def test_plateau_drops_after_plateau_epochs_without_a_better_val_loss():
    options = config("plateau", plateau_epochs=2, factor=0.1)
    losses = [3.0, 2.0, 2.5, 2.0, 1.9, 1.95, 1.8, 1.8, 1.8, 1.8]
    drops = [0, 0, 0, 0, 1, 1, 1, 1, 1, 2]  # after epochs 4 and 9: two in a row were no better
    assert rates(options, 1, 10, losses) == pytest.approx([RATE * 0.1**drop for drop in drops])


def test_plateau_uses_the_training_loss_without_a_validation_split():
    options = config("plateau", plateau_epochs=1, factor=0.5)
    actual = rates(options, 1, 4, [3.0, 3.0, 2.0, 2.0], metric="loss")
    assert actual == pytest.approx([RATE, RATE, RATE / 2, RATE / 2])


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "plateau"])
def test_every_kind_warms_up_linearly_and_no_step_has_rate_0(schedule):
    actual = rates(config(schedule, warmup_epochs=2), steps=4, epochs=10)
    assert actual[:8] == pytest.approx([RATE * step / 8 for step in range(1, 9)])
    assert actual[8] == pytest.approx(RATE)


def test_a_warm_up_may_end_within_an_epoch_and_no_step_has_rate_0():
    expected = [1 / 2, 1, 1, (1 + math.cos(math.pi / 2)) / 2]
    actual = rates(config("cosine", warmup_epochs=0.5), steps=4, epochs=1)
    assert actual == pytest.approx([RATE * factor for factor in expected])


def test_cosine_falls_over_the_epochs_after_the_warm_up():
    actual = rates(config("cosine", warmup_epochs=1), steps=4, epochs=3)
    expected = [RATE * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert actual[4:] == pytest.approx(expected)


def test_a_warm_up_can_be_a_part_of_an_epoch():
    actual = rates(config("constant", warmup_epochs=0.5), steps=8, epochs=2)
    assert actual[:4] == pytest.approx([RATE / 4, RATE / 2, RATE * 3 / 4, RATE])
    assert actual[4:] == [RATE] * 12


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "plateau"])
def test_a_later_stage_starts_its_own_schedule(schedule):
    options = config(schedule, step_epochs=1, warmup_epochs=1)
    assert rates(options, 3, 4, first_epoch=50) == pytest.approx(rates(options, 3, 4))


def test_a_resumed_stage_repeats_the_drops_of_plateau():
    options = config("plateau", plateau_epochs=1, factor=0.5)
    past = [{"loss": loss} for loss in (3.0, 3.0, 2.0, 2.0)]
    schedule = LearningRateSchedule(options, RATE, 1, 0, 8, past)
    schedule.set_model(
        SimpleNamespace(steps_per_execution=1, optimizer=SimpleNamespace(learning_rate=None))
    )
    schedule.on_epoch_begin(4)
    schedule.on_train_batch_begin(0)
    assert schedule.model.optimizer.learning_rate == RATE / 4
