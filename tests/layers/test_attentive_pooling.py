import keras
import numpy as np
import pytest
from layer_references import compiled, value_and_gradient

from layers import AttentivePooling


def reference(x, queries, values):
    """Efficient Probing as it is written: the value matrix is applied to every token."""
    x, queries = np.float64(x), np.float64(queries)
    whole = np.concatenate(list(np.float64(values)), axis=1)  # (C, D)
    output = []
    for tokens in x:
        projected = np.split(tokens @ whole, queries.shape[1], axis=1)
        scores = tokens @ queries / np.sqrt(tokens.shape[1])
        weights = np.exp(scores - scores.max(axis=0))
        weights /= weights.sum(axis=0)
        output.append(np.concatenate([w @ v for w, v in zip(weights.T, projected, strict=True)]))
    return np.array(output)


def tokens(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def values_of(output):
    return keras.ops.convert_to_numpy(output)  # on PyTorch, without its gradient


def test_it_equals_attention_with_values_of_every_token():
    layer, x = AttentivePooling(queries=3, output_dim=12, seed=0), 3 * tokens(2, 10, 8)
    actual = values_of(layer(x))
    expected = reference(x, *map(values_of, (layer.query_matrix, layer.values)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [lambda layer: layer, compiled], ids=["eager", "compiled"])
def test_the_gradient_is_that_of_finite_differences(mode):
    layer, x = AttentivePooling(queries=2, seed=0), tokens(1, 5, 4)
    upstream = tokens(1, 4)
    layer.build(x.shape)
    _, gradient = value_and_gradient(mode(layer), x, upstream)
    weights = [values_of(layer.query_matrix), values_of(layer.values)]
    step, expected = 1e-5, np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        moved = np.float64(x)
        moved[index] += step
        above = (reference(moved, *weights) * upstream).sum()
        moved[index] -= 2 * step
        below = (reference(moved, *weights) * upstream).sum()
        expected[index] = (above - below) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_feature_map_is_its_positions(data_format):
    maps = tokens(2, 3, 4, 6)
    layer = AttentivePooling(queries=2, seed=0, data_format=data_format)
    given = maps if data_format == "channels_last" else np.moveaxis(maps, 3, 1)
    actual = layer(given)
    assert layer.compute_output_shape(given.shape) == (2, 6)
    same = AttentivePooling(queries=2, seed=0, data_format="channels_last")
    np.testing.assert_allclose(
        values_of(actual), values_of(same(maps.reshape(2, 12, 6))), rtol=1e-5, atol=1e-6
    )


def test_the_order_of_the_tokens_does_not_matter():
    layer, x = AttentivePooling(queries=2, seed=0), tokens(2, 9, 6)
    order = np.random.default_rng(1).permutation(9)
    np.testing.assert_allclose(
        values_of(layer(x)), values_of(layer(x[:, order])), rtol=1e-4, atol=1e-6
    )


def test_unknown_numbers_of_images_and_tokens():
    layer = AttentivePooling(queries=2, seed=0)
    model = keras.Sequential([keras.Input((None, 6)), layer])
    assert model.output_shape == (None, 6)
    for count in (1, 7):
        x = tokens(3, count, 6)
        np.testing.assert_allclose(
            values_of(compiled(model)(x)), values_of(layer(x)), rtol=1e-4, atol=1e-6
        )


def test_a_seed_gives_the_same_weights():
    x = tokens(1, 4, 6)
    first, second, other = (values_of(AttentivePooling(2, seed=seed)(x)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": 0}, "`queries` must be an integer of at least 1. Received: 0"),
        ({"output_dim": 2.5}, "`output_dim` must be None or an integer of at least 1"),
        ({"queries": 4}, "must be a multiple of the 4 queries. Received: 6"),
    ],
)
def test_arguments_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        AttentivePooling(**options)(tokens(1, 3, 6))
