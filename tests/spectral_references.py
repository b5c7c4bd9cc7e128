"""References for functions of second moments in float64, maps of any spectrum, and their bounds."""

import numpy as np
from layer_references import (
    HAS_FLOAT64,
    relative_error,
    relu_features,
    value_and_gradient,
    with_singular_values,
)

EPSILON = 1e-5
FUNCTIONS = {  # the function of x = eigenvalue + epsilon * trace, and its derivative
    "root": lambda _: (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "power": lambda theta: (lambda x: x**theta, lambda x: theta * x ** (theta - 1)),
    "log": lambda _: (np.log, lambda x: 1 / x),
    "inverse": lambda _: (lambda x: 1 / x, lambda x: -1 / x**2),
}
CASES = [
    ("root", None),
    ("power", 0.25),
    ("power", 0.7),
    ("log", None),
    ("inverse", None),
    ("max_exp", 1),
    ("max_exp", 6),
    ("max_exp", 25),
]


def reference(x, upstream, function, exponent, epsilon=EPSILON):
    """Return f for features x (B, N, C), and the gradient of <f, upstream>, in float64.

    The eigenvalues are those of an SVD of the features, and the gradient is the formula of Daleckii
    and Krein with differences of eigenvalues.
    """
    y = np.asarray(x, "float64") / x.shape[1] ** 0.5
    pairs = zip(y, np.asarray(upstream, "float64"), strict=True)
    values, gradients = zip(
        *(_reference(*pair, function, exponent, epsilon) for pair in pairs), strict=True
    )
    return np.array(values), np.array(gradients) / x.shape[1] ** 0.5


def _reference(y, g, function, exponent, epsilon):
    _, singular, vt = np.linalg.svd(y, full_matrices=True)
    eigenvalues = np.zeros(y.shape[1])
    eigenvalues[: len(singular)] = singular**2
    trace = eigenvalues.sum()
    if function == "max_exp":
        argument = eigenvalues / trace
        f = lambda x: 1 - (1 - x) ** exponent  # noqa: E731
        slope = lambda x: exponent * (1 - x) ** (exponent - 1)  # noqa: E731
    else:
        argument = eigenvalues + epsilon * trace
        f, slope = FUNCTIONS[function](exponent)
    one, other = argument[:, None], argument
    gap, mean = one - other, (one + other) / 2
    close = np.abs(gap) <= 1e-5 * mean
    with np.errstate(divide="ignore", invalid="ignore"):
        differences = np.where(close, slope(mean), (f(one) - f(other)) / gap)
    h = vt @ (g + g.T) @ vt.T / 2
    inner = vt.T @ (h * differences) @ vt
    along = np.diag(h) * slope(argument)
    identity = np.eye(len(argument))
    if function == "max_exp":
        inner = (inner - np.sum(along * argument) * identity) / trace
    else:
        inner = inner + epsilon * along.sum() * identity
    return vt.T * f(argument) @ vt, 2 * y @ inner


def outlying_position(rng, positions, channels):
    x = relu_features(rng, positions, channels)
    x[:, positions // 2] *= 1000
    return x


def of_rank(number):
    return lambda rng, n, c: with_singular_values(rng, n, c, np.ones(min(n, c, number)))


MAPS = {
    "full rank": relu_features,
    "rank three": of_rank(3),
    "rank one": of_rank(1),
    "equal eigenvalues": of_rank(1000),
    "decaying": lambda rng, n, c: with_singular_values(rng, n, c, np.geomspace(1, 1e-6, min(n, c))),
    "outlying position": outlying_position,
}


def assert_meets_the_contract(layer, x):
    x = x.astype("float32")
    rng = np.random.default_rng(100)
    upstream = rng.normal(size=(len(x), x.shape[2], x.shape[2])).astype("float32")
    value, gradient = value_and_gradient(layer, x, upstream)
    expected = reference(x, upstream, layer.function, layer.exponent, layer.epsilon)
    few = x.shape[1] < x.shape[2]
    slack = 1 if HAS_FLOAT64 else 100
    assert relative_error(value, expected[0]) <= slack * (5e-6 if few else 3e-5)
    if np.linalg.norm(expected[1]) > 1e-6 * np.linalg.norm(expected[0]) / np.linalg.norm(x):
        assert relative_error(gradient, expected[1]) <= slack * (1e-4 if few else 2e-4)


def assert_equal_at_unknown_sizes(layer, x):
    """Only TensorFlow traces unknown sizes."""
    import tensorflow as tf

    channels = x.shape[2]
    upstream = np.random.default_rng(13).normal(size=(len(x), channels, channels)).astype("float32")
    dynamic = tf.function(layer, input_signature=[tf.TensorSpec((None, None, channels))])
    for result, expected in zip(
        value_and_gradient(dynamic, x, upstream),
        value_and_gradient(layer, x, upstream),
        strict=True,
    ):
        assert relative_error(result, expected) < 1e-5
