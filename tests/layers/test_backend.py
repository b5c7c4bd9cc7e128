"""Second derivatives, and what else depends on how a backend takes gradients."""

import every_layer
import keras
import numpy as np
import pytest
from layer_references import (
    HAS_FLOAT64,
    assert_second_derivative_is_right,
    second_derivative,
    value_and_gradient,
)

from layers import MatrixSquareRoot, SecondOrderPooling, SignedSquareRoot

BACKEND = keras.backend.backend()
needs_float64 = pytest.mark.skipif(not HAS_FLOAT64, reason="this backend computes in float32")
CUSTOM = ["exact root", "signed root", "normalised signed root"] + [
    name for name in every_layer.POOLINGS if name.startswith("exact")
]


def made(name, dtype="float64"):
    layer_class, options, shape = every_layer.ONE_INPUT[name]
    return layer_class(**options, dtype=dtype), every_layer.example(shape)


# Second derivatives


@needs_float64
@pytest.mark.parametrize("name", every_layer.ONE_INPUT)
def test_the_second_derivative_is_right(name):
    layer, x = made(name)
    assert_second_derivative_is_right(layer, x, symmetric=name == "exact root")


@needs_float64
def test_the_second_derivative_of_a_pair_is_right():
    assert_second_derivative_is_right(every_layer.pair("float64"), every_layer.example((2, 4, 6)))


@needs_float64
@pytest.mark.parametrize("side", ["channels", "positions"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-5, 1e-2])
def test_equal_eigenvalues_and_null_spaces_do_not_matter(epsilon, side):
    rng = np.random.default_rng(2)
    directions = np.linalg.qr(rng.normal(size=(6, 4)))[0].T[None]
    layer = SecondOrderPooling(root="exact", epsilon=epsilon, side=side, dtype="float64")
    assert_second_derivative_is_right(layer, directions, rtol=1e-5)
    layer = MatrixSquareRoot(epsilon=epsilon, dtype="float64")
    assert_second_derivative_is_right(layer, 2 * np.eye(5)[None], symmetric=True)


@needs_float64
@pytest.mark.parametrize("normalize", [False, True])
def test_the_second_derivative_at_zeros_of_the_signed_root_is_finite(normalize):
    x = every_layer.example((2, 4, 6))
    x[:, 0] = 0
    layer = SignedSquareRoot(normalize=normalize, dtype="float64")
    result = second_derivative(layer, x, np.ones_like(x), np.ones_like(x))
    assert np.isfinite(result).all()


@pytest.mark.parametrize("name", CUSTOM[:4])
def test_forward_mode_is_right_or_an_error(name):
    layer, x = made(name, "float32")
    x, direction = x.astype("float32"), every_layer.example(x.shape, seed=8).astype("float32")
    upstream = np.ones(keras.ops.shape(layer(x)), "float32")
    expected = np.sum(value_and_gradient(layer, x, upstream)[1] * direction)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tensor = tf.constant(x)
        with tf.autodiff.ForwardAccumulator(tensor, tf.constant(direction)) as accumulator:
            value = layer(tensor)
        np.testing.assert_allclose(np.sum(accumulator.jvp(value)), expected, rtol=1e-3)
    elif BACKEND == "jax":
        import jax

        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(layer, (jax.numpy.asarray(x),), (jax.numpy.asarray(direction),))
    else:
        import torch

        with pytest.raises(RuntimeError, match="jvp"):
            torch.func.jvp(layer, (torch.tensor(x),), (torch.tensor(direction),))


@needs_float64
@pytest.mark.parametrize("name", ["exact root", "normalised signed root", CUSTOM[3]])
def test_hessians_of_the_backend_are_right(name):
    """The loss is not linear in the output, and the direction is that of a whole Hessian."""
    layer, x = made(name)
    x = x[:1]
    rng = np.random.default_rng(3)
    step, direction = rng.normal(size=(2, *x.shape))
    if name == "exact root":
        step, direction = (each + np.swapaxes(each, 1, 2) for each in (step, direction))

    def loss(x):
        value = layer(x)
        return keras.ops.sum(value * value * value)

    one = np.ones(())
    ahead, behind = (value_and_gradient(loss, x + h * step, one)[1] for h in (1e-5, -1e-5))
    expected = np.sum(direction * (ahead - behind)) / 2e-5
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tensor = tf.constant(x)
        with tf.GradientTape() as outer:
            outer.watch(tensor)
            with tf.GradientTape() as inner:
                inner.watch(tensor)
                value = loss(tensor)
            gradient = inner.gradient(value, tensor)
        hessians = [outer.jacobian(gradient, tensor)]
    elif BACKEND == "jax":
        import jax

        tensor = jax.numpy.asarray(x)
        hessians = [
            jax.jit(jax.hessian(loss))(tensor),
            jax.jit(jax.jacrev(jax.jacrev(loss)))(tensor),
        ]
    else:
        import torch

        tensor = torch.tensor(x)
        hessians = [
            torch.autograd.functional.hessian(loss, tensor),
            torch.func.jacrev(torch.func.jacrev(loss))(tensor),
        ]
    for hessian in hessians:
        matrix = np.reshape(keras.ops.convert_to_numpy(hessian), (x.size, x.size))
        result = direction.reshape(-1) @ matrix @ step.reshape(-1)
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


# Float64, and the function transforms of PyTorch


@needs_float64
@pytest.mark.parametrize("name", every_layer.ONE_INPUT)
def test_float64_is_computed_in_float64(name):
    """A layer that rounds to float32 gives the same result for an input that is rounded before."""
    layer, x = made(name)
    step = 1e-10 * every_layer.example(x.shape, seed=4)
    step = step + np.swapaxes(step, 1, 2) if x.shape == every_layer.MATRICES else step
    upstream = np.random.default_rng(5).normal(size=keras.ops.shape(layer(x)))
    ahead, behind = (value_and_gradient(layer, x + s * step, upstream)[0] for s in (1, -1))
    _, gradient = value_and_gradient(layer, x, upstream)
    change = np.sum(upstream * (ahead - behind)) / 2
    np.testing.assert_allclose(change, np.sum(gradient * step), rtol=1e-3, atol=1e-14)


on_torch = pytest.mark.skipif(BACKEND != "torch", reason="a transform of PyTorch")


@on_torch
@pytest.mark.parametrize("name", [*every_layer.EACH_CLASS, CUSTOM[3], CUSTOM[-1]])
def test_torch_func(name):
    import torch

    layer_class, options, shape = (every_layer.EACH_CLASS | every_layer.ONE_INPUT)[name]
    layer, x = layer_class(**options, dtype="float64"), torch.tensor(every_layer.example(shape))
    upstream = torch.tensor(np.random.default_rng(6).normal(size=tuple(layer(x).shape)))
    value, gradient = value_and_gradient(layer, x, upstream)

    def loss(x, upstream):
        return (layer(x[None])[0] * upstream).sum()

    per_sample = torch.func.vmap(torch.func.grad(loss))(x, upstream)
    np.testing.assert_allclose(per_sample, gradient, rtol=1e-7, atol=1e-9)
    whole = torch.func.grad(lambda x: (layer(x) * upstream).sum())(x)
    np.testing.assert_allclose(whole, gradient, rtol=1e-7, atol=1e-9)
    mapped = torch.func.vmap(lambda x: layer(x[None])[0])(x)
    np.testing.assert_allclose(mapped, value, rtol=1e-9, atol=1e-12)


@on_torch
@pytest.mark.parametrize("name", [*every_layer.EACH_CLASS, CUSTOM[3]])
def test_torch_compile_takes_the_whole_graph(name):
    import torch

    layer_class, options, shape = (every_layer.EACH_CLASS | every_layer.ONE_INPUT)[name]
    layer, x = layer_class(**options, dtype="float64"), every_layer.example(shape)
    upstream = np.random.default_rng(7).normal(size=tuple(layer(x).shape))
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = value_and_gradient(compiled, x, upstream)
    for result, expected in zip(results, value_and_gradient(layer, x, upstream), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)
