"""Optimizers that can train a part of a model at a higher learning rate than the rest."""

import keras
import numpy as np
import pytest

from conf.schema import Optimizer, OptimizerConfig
from training.optimizers import build_optimizer, stage_2_options

RATE = 0.01
START = np.array([1.0, -2.0, 3.0], np.float32)
GRADIENTS = np.array([[0.5, 1.0, -2.0], [1.0, -1.0, 0.3], [0.2, 0.1, 4.0]], np.float32)


def config(name: str, **options) -> OptimizerConfig:
    return OptimizerConfig(**{"name": Optimizer[name], "weight_decay": 1e-3, **options})


def moved(optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]) -> np.ndarray:
    """The variables after three steps with the same gradients."""
    for gradient in GRADIENTS:
        optimizer.apply_gradients((keras.ops.array(gradient), variable) for variable in variables)
    return np.array([variable.numpy() for variable in variables])


def two_variables() -> list[keras.Variable]:
    return [keras.Variable(START, name=name) for name in ("slow", "fast")]


def test_gradients_accumulate_over_batches():
    variable = keras.Variable([1.0, 1.0])
    config = OptimizerConfig(name=Optimizer.sgd, momentum=0.0, accumulation_steps=2)
    optimizer = build_optimizer(config, 0.5)
    optimizer.apply([keras.ops.convert_to_tensor([1.0, 0.0])], [variable])
    np.testing.assert_allclose(variable.numpy(), [1, 1])
    optimizer.apply([keras.ops.convert_to_tensor([0.0, 2.0])], [variable])
    np.testing.assert_allclose(variable.numpy(), [1 - 0.5 * 0.5, 1 - 0.5 * 1.0])


@pytest.mark.parametrize(
    ("name", "plain", "options"),
    [
        ("sgd", lambda decay: keras.optimizers.SGD(RATE, momentum=0.8, weight_decay=decay), {}),
        ("adamw", lambda decay: keras.optimizers.AdamW(RATE, weight_decay=decay), {}),
    ],
)
@pytest.mark.parametrize("with_factor", [False, True])
def test_with_factor_1_it_equals_keras_own_optimizer(name, plain, options, with_factor):
    ours, theirs = two_variables(), two_variables()
    options = config(name, momentum=0.8)
    optimizer = build_optimizer(options, RATE, {ours[1].path: 1.0} if with_factor else None)
    np.testing.assert_array_equal(moved(optimizer, ours), moved(plain(1e-3), theirs))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_several_steps_in_one_execution_have_their_own_learning_rates(name):
    own, together = two_variables(), two_variables()
    one = build_optimizer(config(name), RATE)
    three = build_optimizer(config(name), RATE, steps_per_execution=3)
    rates = [0.1, 0.01, 0.3]
    three.rates.assign(rates)
    for gradient, rate in zip(GRADIENTS, rates, strict=True):
        one.learning_rate = rate
        for optimizer, variables in ((one, own), (three, together)):
            optimizer.apply([keras.ops.array(gradient)] * 2, variables)
    np.testing.assert_array_equal(np.array(own), np.array(together))
    assert float(three.learning_rate) == float(one.learning_rate)


def test_the_last_of_several_steps_is_watched():
    variable = keras.Variable(START)
    optimizer = build_optimizer(config("sgd"), RATE, steps_per_execution=3)
    optimizer.build([variable])
    optimizer.watching.assign(True)
    for gradient in GRADIENTS:
        before = variable.numpy()
        optimizer.apply([keras.ops.array(gradient)], [variable])
    np.testing.assert_array_equal(optimizer.before[0].numpy(), before)
    norms = optimizer.gradient_norms.numpy()
    np.testing.assert_allclose(norms, [np.linalg.norm(GRADIENTS[-1])], rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_variable_moves_as_much_farther_as_its_factor_says(name):
    variables = two_variables()
    options = config(name, weight_decay=1e-30)
    factors = {variables[1].path: 10.0}
    slow_end, fast_end = moved(build_optimizer(options, RATE, factors), variables)
    assert np.abs(slow_end - START).min() > 1e-4
    np.testing.assert_allclose(fast_end - START, 10 * (slow_end - START), rtol=2e-3)


def test_the_factor_multiplies_a_scheduled_learning_rate_too():
    variables = two_variables()
    options, factors = config("sgd", weight_decay=0.0, momentum=0.0), {variables[1].path: 10.0}
    optimizer = build_optimizer(options, RATE, factors)
    optimizer.build(variables)
    optimizer.learning_rate = RATE / 5
    slow_end, fast_end = moved(optimizer, variables)
    np.testing.assert_allclose(slow_end - START, -RATE / 5 * GRADIENTS.sum(axis=0), rtol=1e-3)
    np.testing.assert_allclose(fast_end - START, -RATE * 2 * GRADIENTS.sum(axis=0), rtol=1e-3)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_can_be_off(name):
    options = config(name, weight_decay=0.0, momentum=0.0)
    variable = keras.Variable(START)
    optimizer = build_optimizer(options, RATE)
    optimizer.apply_gradients([(keras.ops.zeros(3), variable)])
    np.testing.assert_array_equal(variable.numpy(), START)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_is_decoupled_from_the_gradient(name):
    variable = keras.Variable(START)
    optimizer = build_optimizer(config(name, weight_decay=0.1), RATE)
    optimizer.apply_gradients([(keras.ops.zeros(3), variable)])
    np.testing.assert_allclose(variable.numpy(), START * (1 - 0.1 * RATE), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("adamw", 3e-4)),
        ({"fine_tune_name": Optimizer.sgd}, ("sgd", 1e-3)),
        ({"fine_tune_learning_rate": 0.5}, ("adamw", 0.5)),
    ],
)
def test_stage_2_has_an_optimizer_of_its_own(options, expected):
    made = stage_2_options(config("sgd", learning_rate=10.0, **options), epochs=4)
    assert (made.name.name, made.learning_rate) == expected


@pytest.mark.parametrize(("decay", "expected"), [(None, 0.001), (0.0, 0.0), (0.05, 0.05)])
def test_stage_2_has_the_weight_decay_of_stage_1_unless_it_has_its_own(decay, expected):
    options = config("sgd", weight_decay=0.001, fine_tune_weight_decay=decay)
    assert stage_2_options(options, epochs=4).weight_decay == expected


def test_clip_norm_bounds_the_norm_of_the_whole_gradient():
    first, second = variables = two_variables()
    options = config("sgd", weight_decay=0.0, momentum=0.0, clip_norm=1.0)
    optimizer = build_optimizer(options, RATE)
    gradient = keras.ops.array([300.0, 0.0, 400.0])
    optimizer.apply_gradients([(gradient, first), (gradient, second)])
    step = np.concatenate([variable.numpy() - START for variable in variables])
    assert np.linalg.norm(step) == pytest.approx(RATE, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "options"), [(keras.optimizers.SGD, {"momentum": 0.9}), (keras.optimizers.AdamW, {})]
)
@pytest.mark.parametrize("name", ["_get_variable_index", "_all_reduce_sum_gradients"])
def test_keras_still_calls_the_private_methods_in_use(kind, options, name, monkeypatch):
    method, calls = getattr(kind, name, None), []
    assert method, f"Keras has no Optimizer.{name} any more; adapt training/optimizers.py"
    monkeypatch.setattr(kind, name, lambda *args: calls.append(args) or method(*args))
    kind(**options).apply([keras.ops.array(GRADIENTS[0])], [keras.Variable(START)])
    assert calls, f"Keras does not call Optimizer.{name} any more; adapt training/optimizers.py"
