"""Reference results in float64 NumPy, and gradients and compilation on any backend."""

import os

import keras
import numpy as np
from jax_cases import ON_JAX

# JAX has float64 only with JAX_ENABLE_X64=1.
HAS_FLOAT64 = not ON_JAX or os.environ.get("JAX_ENABLE_X64") == "1"


def relu_features(rng, positions, channels, batch=2):
    means = 0.3 * rng.normal(size=(batch, 1, channels))
    return np.maximum(rng.normal(size=(batch, positions, channels)) + means, 0)


def with_singular_values(rng, positions, channels, values, batch=2):
    """Return maps of random singular vectors, whose rank is the number of values."""
    rank = len(values)
    left = np.linalg.qr(rng.normal(size=(batch, positions, rank)))[0]
    right = np.linalg.qr(rng.normal(size=(batch, channels, rank)))[0]
    return left * values @ np.swapaxes(right, 1, 2)


def second_moment(x, centered=False):
    """Return the second moment of features x (B, N, C), in float64."""
    x = np.asarray(x, "float64")
    if centered:
        x = x - x.mean(1, keepdims=True)
    return np.swapaxes(x, 1, 2) @ x / x.shape[1]


def root(x, upstream, epsilon, centered=False):
    """Return the exact root for features x (B, N, C) and the gradient of <root, upstream>.

    Computed in float64 from the singular values of X, not from the eigenvalues of a Gram matrix,
    so that it has no step in common with the tested code.
    """
    x = np.asarray(x, "float64")
    y = (x - x.mean(1, keepdims=True) if centered else x) / x.shape[1] ** 0.5
    roots, gradients = [], []
    for sample, g in zip(y, np.asarray(upstream, "float64"), strict=True):
        _, singular, vt = np.linalg.svd(sample, full_matrices=True)
        eigenvalues = np.zeros(sample.shape[1])
        eigenvalues[: len(singular)] = singular**2
        a = np.sqrt(eigenvalues + epsilon * eigenvalues.sum())
        roots.append(vt.T * a @ vt)
        h = vt @ (g + g.T) @ vt.T / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            inner = np.nan_to_num(h / (a[:, None] + a), posinf=0, neginf=0)
            ridge = epsilon * np.nan_to_num(np.diag(h) / (2 * a), posinf=0, neginf=0).sum()
        gradient = 2 * sample @ (vt.T @ inner @ vt + ridge * np.eye(len(a)))
        gradients.append(gradient - gradient.mean(0) if centered else gradient)
    return np.array(roots), np.array(gradients) / x.shape[1] ** 0.5


def newton_schulz(a, iterations):
    """Return iSQRT-COV of matrices a (B, C, C), in float64 (Li et al. 2018, eq. 4 to 6)."""
    a = np.asarray(a, "float64")
    trace = np.trace(a, axis1=1, axis2=2)[:, None, None]
    identity = np.eye(a.shape[1])
    y, z = a / trace, identity
    for _ in range(iterations):
        t = (3 * identity - z @ y) / 2
        y, z = y @ t, t @ z
    return np.sqrt(trace) * y


def relative_error(value, reference):
    """Return the largest relative Frobenius error of the samples."""
    value, reference = np.asarray(value, "float64"), np.asarray(reference)
    pairs = zip(value, reference, strict=True)
    return max(np.linalg.norm(one - other) / np.linalg.norm(other) for one, other in pairs)


def value_and_gradient(function, x, upstream):
    """Return function(x) and the gradient of <function(x), upstream> as NumPy arrays."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x, tf.cast(upstream, value.dtype))
    elif backend == "jax":
        import jax

        value, pull_back = jax.vjp(function, jax.numpy.asarray(x))
        (gradient,) = pull_back(jax.numpy.asarray(upstream, value.dtype))
    else:
        import torch

        x = keras.ops.convert_to_tensor(x).detach().clone().requires_grad_()
        value = function(x)
        value.backward(torch.as_tensor(upstream, dtype=value.dtype))
        gradient = x.grad
    return keras.ops.convert_to_numpy(value), keras.ops.convert_to_numpy(gradient)


def compiled(function):
    """Return `function` compiled with XLA, or unchanged if the backend has no XLA."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


def second_derivative(function, x, upstream, direction):
    """Return the gradient of <d<function(x), upstream>/dx, direction> as a NumPy array."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = function(x)
            gradient = inner.gradient(value, x, tf.convert_to_tensor(upstream))
        result = outer.gradient(gradient, x, direction, unconnected_gradients="zero")
    elif backend == "jax":
        import jax

        def gradient(x):
            return jax.vjp(function, x)[1](jax.numpy.asarray(upstream))[0]

        x, direction = jax.numpy.asarray(x), jax.numpy.asarray(direction)
        (result,) = jax.jit(lambda x: jax.vjp(gradient, x)[1](direction))(x)
    else:
        import torch

        x = torch.tensor(x, requires_grad=True)
        gradient = torch.autograd.grad(
            function(x), x, torch.as_tensor(upstream), create_graph=True
        )[0]
        if not gradient.requires_grad:
            return np.zeros(tuple(x.shape))
        (result,) = torch.autograd.grad(gradient, x, torch.as_tensor(direction))
    return keras.ops.convert_to_numpy(result)


def assert_second_derivative_is_right(function, x, symmetric=False, rtol=1e-6):
    """Compare it with a finite difference of the gradient in float64, along a symmetric step."""
    rng = np.random.default_rng(1)
    direction, step = rng.normal(size=(2, *x.shape))
    if symmetric:
        direction, step = (each + np.swapaxes(each, 1, 2) for each in (direction, step))
    shape = keras.ops.shape(function(keras.ops.convert_to_tensor(x)))
    upstream = rng.normal(size=shape)
    ahead, behind = (
        value_and_gradient(function, x + sign * 1e-5 * step, upstream)[1] for sign in (1, -1)
    )
    expected = np.sum(direction * (ahead - behind)) / 2e-5
    result = np.sum(step * second_derivative(function, x, upstream, direction))
    np.testing.assert_allclose(result, expected, rtol=rtol, atol=1e-9)
