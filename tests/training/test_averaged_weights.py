"""The average of the weights: its values, and who sees it."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.classifier import build_classifier
from models.parts import StageInput
from training.averaged_weights import UPDATES, AveragedWeights, averaged_variables


class Line(keras.Model):
    """Has one trained weight, the number of its steps, and one that is not trained."""

    def __init__(self):
        super().__init__()
        self.number = self.add_weight(shape=(), initializer="zeros", name="number")
        self.fixed = self.add_weight(shape=(), trainable=False, name="fixed")


def averaged(epochs: float, steps: int) -> tuple[AveragedWeights, Line]:
    average, model = AveragedWeights(epochs, steps), Line()
    average.set_model(model)
    average.on_train_begin()
    return average, model


def train(average: AveragedWeights, model: Line, steps: int, epoch: int) -> None:
    average.on_epoch_begin(epoch)
    for batch in range(steps):
        model.number.assign(epoch * steps + batch + 1)
        average.on_train_batch_end(batch)


@settings(max_examples=25)
@given(st.floats(0.01, 20), st.integers(1, 30), st.integers(1, 5))
def test_the_average_is_an_exponential_one_at_every_nth_step(window, steps, epochs):
    average, model = averaged(window, steps)
    for epoch in range(epochs):
        train(average, model, steps, epoch)
    expected = 0.0
    for step in range(average.every, epochs * steps + 1, average.every):
        expected += average.share * (step - expected)
    assert average.values[0] == pytest.approx(expected, rel=1e-5)
    assert 0 < average.share <= 1


@pytest.mark.parametrize("window, steps", [(1, 50), (0.5, 40), (3, 20)])
def test_it_lags_by_about_its_window(window, steps):
    average, model = averaged(window, steps)
    for epoch in range(30):
        train(average, model, steps, epoch)
    lag = 30 * steps - float(average.values[0])
    assert lag == pytest.approx(window * steps, rel=1.5 / UPDATES)


def test_an_epoch_of_a_few_steps_updates_it_in_each():
    assert AveragedWeights(1, 4).every == 1 and AveragedWeights(1, 4).share == 1 / 4
    assert AveragedWeights(0.1, 4).share == 1  # the window is shorter than a step: no average


def test_validation_sees_the_average_and_training_goes_on_from_the_weights():
    average, model = averaged(1, 4)
    train(average, model, 4, epoch=0)
    value = float(average.values[0])
    average.on_test_begin()
    assert float(model.number.numpy()) == value < 4
    average.on_test_end()
    assert float(model.number.numpy()) == 4
    with pytest.raises(KeyError), average.applied():
        assert float(model.number.numpy()) == value
        raise KeyError
    assert float(model.number.numpy()) == 4 and float(average.values[0]) == value


def test_values_of_an_interrupted_training_are_kept():
    average, _ = averaged(1, 4)
    average.values = [np.float32(7.0)]
    average.on_train_begin()
    assert average.values == [7.0]


def test_the_mean_that_standardisation_subtracts_is_averaged_too(make_config):
    parts = build_classifier(make_config(), 3)
    parts.unfreeze()
    model = parts.network(StageInput.images)
    mean = parts.linear.get_layer("standardize").adapt_mean
    assert any(variable is mean for variable in averaged_variables(model))
    assert len(averaged_variables(model)) == len(model.trainable_variables) + 1
