"""Both triplet losses against other libraries, plain loops and difficult batches."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax_cases import examples
from layer_references import HAS_FLOAT64, compiled, value_and_gradient
from loss_references import triplet_hard, triplet_semi_hard

from losses import TripletHardLoss, TripletSemiHardLoss
from losses.pairwise import pairwise_distances

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDED = json.loads((GOLDEN / "triplet.json").read_text())
ARRAYS = np.load(GOLDEN / "triplet.npz")
METRICS = ("L2", "squared-L2", "angular")
LOSSES = {
    "hard": TripletHardLoss,
    "soft": lambda **options: TripletHardLoss(soft=True, **options),
    "semi-hard": TripletSemiHardLoss,
}
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
WITH_TIES = ("dup_within_class", "all_zero_embeddings", "ties_grid_3x3")


def recorded(*kinds):
    """Return the recorded cases of these kinds as (batch, case)."""
    names = "|".join(kinds)
    return [
        (batch, case)
        for batch, cases in RECORDED["cases"].items()
        for case in cases
        if re.match(rf"({names})_({'|'.join(METRICS)})", case)
    ]


def recorded_loss(record, **options):
    options |= {key: record[key] for key in ("margin", "soft", "distance_metric") if key in record}
    return {"TripletHardLoss": TripletHardLoss, "TripletSemiHardLoss": TripletSemiHardLoss}[
        record["cls"]
    ](**options)


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def loss_and_gradient(loss, labels, x):
    return value_and_gradient(lambda x: loss(labels, x), x, np.ones((), "float32"))


# The values of TensorFlow Addons and pytorch-metric-learning


@pytest.mark.parametrize("batch, case", recorded("tfa_hard", "tfa_hardsoft", "tfa_semihard"))
def test_golden_values_under_both_rules(batch, case):
    record = RECORDED["cases"][batch][case]
    labels, x = ARRAYS[f"{batch}/labels"], ARRAYS[f"{batch}/emb"]
    for degenerate, key in (("original", "oracle64"), ("skip", "valid_only64")):
        loss = recorded_loss(record, degenerate=degenerate)
        value, gradient = loss_and_gradient(loss, labels, x)
        np.testing.assert_allclose(value, float(record[key]), rtol=1e-5)
        if degenerate == "skip":
            assert np.isfinite(value) and np.isfinite(gradient).all()
        elif batch not in WITH_TIES and not record["grad_nonfinite"]:
            expected = ARRAYS[f"{batch}/{case}/grad"]
            np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


OTHERS = {  # prefixes of the values of pytorch-metric-learning, and the equal losses
    "pml_hard": TripletHardLoss,
    "pml_hardsoft": lambda **options: TripletHardLoss(soft=True, **options),
    "pml_tfa_semihard": TripletSemiHardLoss,
}


@pytest.mark.parametrize("batch, case", recorded(*OTHERS))
def test_the_safe_rule_is_pytorch_metric_learning_s(batch, case):
    record = RECORDED["cases"][batch][case]
    kind, metric = re.match(rf"({'|'.join(OTHERS)})_({'|'.join(METRICS)})", case).groups()
    loss = OTHERS[kind](margin=record["margin"], distance_metric=metric)
    value, gradient = loss_and_gradient(loss, ARRAYS[f"{batch}/labels"], ARRAYS[f"{batch}/emb"])
    np.testing.assert_allclose(value, record["loss"], rtol=1e-5, atol=1e-6)  # recorded in float32
    if batch not in WITH_TIES:
        np.testing.assert_allclose(np.linalg.norm(gradient), record["grad_l2"], rtol=1e-4)


@pytest.mark.parametrize("batch, case", recorded("pml_hard_nz"))
def test_a_mean_over_anchors_above_zero_comes_from_the_anchors_values(batch, case):
    record = RECORDED["cases"][batch][case]
    metric = case.split("_")[3]
    loss = TripletHardLoss(record["margin"], distance_metric=metric, reduction=None)
    labels, x = ARRAYS[f"{batch}/labels"], ARRAYS[f"{batch}/emb"]
    values = np.asarray(loss(labels, x))
    mean = values.sum() / max(np.count_nonzero(values), 1)
    counted = [(labels == label).sum() > 1 and (labels != label).any() for label in labels]
    mean *= sum(counted) / len(labels)  # values are scaled for a mean over the whole batch
    np.testing.assert_allclose(mean, record["loss"], rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("batch", ["pk_4x4_d8_norm", "pk_4x4_d8_raw"])
def test_semi_hard_is_not_the_other_library_s_semi_hard_miner(batch, metric):
    """That miner takes every negative within the margin, and ignores pairs without any."""
    cases = RECORDED["cases"][batch]
    value = TripletSemiHardLoss(0.2, metric)(ARRAYS[f"{batch}/labels"], ARRAYS[f"{batch}/emb"])
    assert abs(value - cases[f"pml_semihard_miner_{metric}_m0.2"]["loss"]) > 0.001


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("batch", RECORDED["batches"])
def test_golden_distances(batch, metric):
    distances = pairwise_distances(keras.ops.convert_to_tensor(ARRAYS[f"{batch}/emb"]), metric)
    expected = ARRAYS[f"{batch}/dist/{metric}"]
    np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("batch", ["all_same_class", "all_diff_class", "batch_of_1"])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("metric", METRICS)
def test_without_triplets_loss_and_gradient_are_zero(metric, kind, batch):
    labels, x = ARRAYS[f"{batch}/labels"], ARRAYS[f"{batch}/emb"]
    value, gradient = loss_and_gradient(LOSSES[kind](distance_metric=metric), labels, x)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


# Plain loops


@examples(30)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=10),
    dimensions=st.integers(1, 4),
    metric=st.sampled_from(METRICS),
    margin=st.sampled_from([0.0, 0.3, 1.0]),
    grid=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_batch_against_plain_loops(labels, dimensions, metric, margin, grid, seed):
    """Embeddings on a grid have duplicates and exact ties."""
    rng = np.random.default_rng(seed)
    shape = (len(labels), dimensions)
    x = rng.integers(-2, 3, shape) if grid else rng.normal(size=shape)
    x, labels = x.astype("float32"), np.array(labels)
    hard = triplet_hard(labels, x, margin, False, metric)
    soft = triplet_hard(labels, x, margin, True, metric)
    semi_hard = triplet_semi_hard(labels, x, margin, metric)
    for loss, expected in [
        (TripletHardLoss(margin, distance_metric=metric), hard),
        (TripletHardLoss(soft=True, distance_metric=metric), soft),
        (TripletSemiHardLoss(margin, metric), semi_hard),
    ]:
        value, gradient = loss_and_gradient(loss, labels, x)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
        assert np.isfinite(gradient).all()


@pytest.mark.skipif(not HAS_FLOAT64, reason="this backend computes in float32")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", LOSSES)
def test_gradient_by_finite_differences(kind, metric):
    loss = LOSSES[kind](distance_metric=metric, reduction=None)
    x, direction = np.random.default_rng(3).normal(size=(2, 8, 5))
    upstream = np.arange(1.0, 9.0)
    function = lambda x: loss.call(LABELS, x)  # noqa: E731  __call__ would cast to float32
    value, gradient = value_and_gradient(function, x, upstream)
    assert value.dtype == "float64"
    ahead, behind = (np.asarray(function(x + sign * 1e-6 * direction)) for sign in (1, -1))
    expected = np.sum(upstream * (ahead - behind)) / 2e-6
    np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-6)


def test_large_classes_agree_too():
    """Each anchor has many positives, so the sums cancel."""
    x, labels = 100 * vectors(80, 16), np.arange(80) % 2
    value = TripletSemiHardLoss()(labels, x)
    np.testing.assert_allclose(value, triplet_semi_hard(labels, x), rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("largest", [4, 33, 34, 50])  # classes of up to 33 are not sorted
def test_classes_of_any_size_against_plain_loops(largest, metric):
    """The labels are not sorted, and the grid has duplicates and exact ties."""
    rng = np.random.default_rng(largest)
    sizes = [largest, 1, 2, 3, 8]
    labels = rng.permutation(np.repeat([5, 3, 9, 0, 7], sizes))
    for x in (rng.integers(-2, 3, (len(labels), 3)), rng.normal(size=(len(labels), 3))):
        x = x.astype("float32")
        value, gradient = loss_and_gradient(TripletSemiHardLoss(0.3, metric), labels, x)
        expected = triplet_semi_hard(labels, x, 0.3, metric)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", ["all alike", "all different"])
@pytest.mark.parametrize("degenerate", ["skip", "original"])
def test_large_degenerate_batches(degenerate, kind):
    """Only the original rule counts pairs without negatives, at the margin."""
    x, labels = vectors(40, 6), np.zeros(40) if kind == "all alike" else np.arange(40)
    value = TripletSemiHardLoss(0.3, degenerate=degenerate)(labels, x)
    distances = np.linalg.norm(x[:, None].astype("float64") - x, axis=2)
    original = np.nan if kind == "all different" else distances.sum() / (40 * 39) + 0.3
    np.testing.assert_allclose(value, 0 if degenerate == "skip" else original, rtol=1e-5)


# Batches that break other implementations


@pytest.mark.skipif(not HAS_FLOAT64, reason="float32 resolves less of it")
@pytest.mark.parametrize("kind", LOSSES)
def test_a_large_common_offset_does_not_cancel(kind):
    x = (vectors(8, 6) + np.float32(1000)).astype("float32")
    moved = x.astype("float64") - 1000  # exact, because the addition has rounded already
    loss = LOSSES[kind]()
    value, gradient = loss_and_gradient(loss, LABELS, x)
    expected, expected_gradient = loss_and_gradient(loss, LABELS, moved.astype("float32"))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
@pytest.mark.parametrize("kind", LOSSES)
def test_duplicates_have_distance_0_and_gradient_0(kind, scale):
    x = scale * vectors(1, 6).repeat(8, axis=0)
    value, gradient = loss_and_gradient(LOSSES[kind](), LABELS, x)
    np.testing.assert_allclose(value, np.log(2) if kind == "soft" else 1.0, rtol=1e-6)
    np.testing.assert_array_equal(gradient, 0)


def test_near_duplicates_have_a_bounded_gradient():
    x = vectors(1, 6).repeat(8, axis=0)
    x[:, 0] *= 1 + 1e-4 * np.arange(8, dtype="float32")
    _, gradient = loss_and_gradient(TripletHardLoss(), LABELS, x)
    assert np.linalg.norm(gradient, axis=1).max() < 2


def test_the_soft_margin_does_not_overflow():
    x = 280 * vectors(8, 6)
    value, gradient = loss_and_gradient(TripletHardLoss(soft=True), LABELS, x)
    np.testing.assert_allclose(value, triplet_hard(LABELS, x, soft=True), rtol=1e-5)
    assert value > 100 and np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", LOSSES)
def test_an_embedding_that_is_not_finite_gives_nan(kind):
    x = vectors(8, 6)
    x[3, 2] = np.nan
    assert np.isnan(loss_and_gradient(LOSSES[kind](), LABELS, x)[0])


def test_excluded_anchors_do_not_change_the_mean():
    x = vectors(8, 6)
    far = np.concatenate(
        [x, 100 + vectors(3, 6, seed=1)]
    )  # three more samples, each of its own class
    labels = np.concatenate([LABELS, [7, 8, 9]])
    for soft in (False, True):
        loss = TripletHardLoss(soft=soft)
        np.testing.assert_allclose(loss(labels, far), loss(LABELS, x), rtol=1e-6)


# Drop-in use


@pytest.mark.parametrize("kind", LOSSES)
def test_labels_of_either_shape_and_any_integer_type(kind):
    loss, x = LOSSES[kind](), vectors(8, 6)
    expected = loss(LABELS, x)
    for dtype in ("int32", "int64", "uint8", "float32"):
        np.testing.assert_array_equal(loss(LABELS.astype(dtype)[:, None], x), expected)
    with pytest.raises(ValueError, match=r"one-hot.*\(8, 3\)"):
        loss(np.eye(3)[LABELS], x)
    with pytest.raises(ValueError, match=r"Received: shape=\(8, 6, 1\)"):
        loss(LABELS, x[:, :, None])


@pytest.mark.parametrize("kind", LOSSES)
def test_sample_weights_multiply_the_values_of_anchors(kind):
    x, weight = vectors(8, 6), np.linspace(0, 1, 8).astype("float32")
    values = np.asarray(LOSSES[kind](reduction=None)(LABELS, x))
    assert values.shape == (8,)
    np.testing.assert_allclose(LOSSES[kind]()(LABELS, x), values.mean(), rtol=1e-6)
    weighted = LOSSES[kind]()(LABELS, x, sample_weight=weight)
    np.testing.assert_allclose(weighted, (values * weight).mean(), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", LOSSES)
def test_half_precision_is_computed_in_float32(kind, dtype):
    x = keras.ops.cast(vectors(8, 6), dtype)
    value, gradient = loss_and_gradient(LOSSES[kind](), LABELS, x)
    exact, _ = loss_and_gradient(LOSSES[kind](), LABELS, keras.ops.cast(x, "float32"))
    assert value.dtype == "float32" and keras.backend.standardize_dtype(gradient.dtype) == dtype
    np.testing.assert_array_equal(value, exact)
    assert keras.backend.standardize_dtype(LOSSES[kind]().call(LABELS, x).dtype) == "float32"


@pytest.mark.parametrize(
    "metric, labels",
    [
        ("L2", LABELS),
        *(pytest.param(metric, LABELS, marks=pytest.mark.slow) for metric in METRICS[1:]),
        pytest.param("L2", np.arange(70) % 2, marks=pytest.mark.slow),
    ],
)
def test_xla_gives_the_same(metric, labels):
    x, losses = vectors(len(labels), 6), [LOSSES[kind](distance_metric=metric) for kind in LOSSES]

    def all_losses(labels, x):
        return keras.ops.stack([loss(labels, x) for loss in losses])

    upstream = np.array([1.0, 0.5, 2.0], "float32")
    one_graph = compiled(all_losses)  # with symbolic labels
    value, gradient = value_and_gradient(lambda x: one_graph(labels, x), x, upstream)
    expected, expected_gradient = value_and_gradient(lambda x: all_losses(labels, x), x, upstream)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "kind, policy",
    [
        ("hard", "float32"),
        ("soft", "mixed_bfloat16"),
        ("semi-hard", "float32"),
        ("semi-hard", "mixed_bfloat16"),
    ],
)
def test_it_trains_a_model_with_batches_of_any_size(kind, policy):
    rng = np.random.default_rng(0)
    labels = np.arange(45) % 3
    x = (np.eye(3)[labels] + rng.normal(0, 0.3, (45, 3))).astype("float32")
    inputs = keras.Input((3,))
    dense = keras.layers.Dense(
        4, kernel_initializer=keras.initializers.GlorotUniform(0), dtype=policy
    )
    model = keras.Model(inputs, dense(inputs))
    model.compile(keras.optimizers.Adam(0.05), LOSSES[kind](margin=0.5))
    history = model.fit(x, labels, batch_size=16, epochs=6, verbose=0, shuffle=False)
    curve = history.history["loss"]
    assert np.isfinite(curve).all() and curve[-1] < 0.9 * curve[0]


@pytest.mark.parametrize(
    "class_size",
    [4, pytest.param(2048, marks=pytest.mark.slow)],  # compared, and sorted
)
def test_a_batch_of_4096_trains(class_size):
    """A mask of all triplets would take 64 GiB."""
    labels, x = np.arange(4096) // class_size, vectors(4096, 4)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(8)(inputs))
    model.compile("sgd", TripletSemiHardLoss())
    before = model.get_weights()[0]
    assert np.isfinite(model.train_on_batch(x, labels))
    after = model.get_weights()[0]
    assert np.isfinite(after).all() and (after != before).any()


@pytest.mark.parametrize("kind", LOSSES)
def test_config_round_trip(kind):
    loss = LOSSES[kind](margin=0.3, distance_metric="angular", degenerate="original", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    assert again.get_config()["margin"] == 0.3


@keras.saving.register_keras_serializable(package="tests")
def sums_of_differences(x):
    return keras.ops.sum(keras.ops.abs(x[:, None] - x[None]), axis=2)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_distance_may_be_a_function(kind):
    x = vectors(8, 1)  # in one dimension this is the L2 distance
    loss = LOSSES[kind](distance_metric=sums_of_differences)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    value, gradient = loss_and_gradient(again, LABELS, x)
    expected, expected_gradient = loss_and_gradient(LOSSES[kind](), LABELS, x)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("degenerate", ["skip", "original"])
@pytest.mark.parametrize("kind", LOSSES)
def test_a_function_may_give_negative_distances(kind, degenerate):
    x = vectors(8, 6)
    result, expected = (
        loss_and_gradient(
            LOSSES[kind](
                distance_metric=lambda x, least=least: least - x @ keras.ops.transpose(x),
                degenerate=degenerate,
            ),
            LABELS,
            x,
        )
        for least in (0.0, 100.0)
    )
    np.testing.assert_allclose(result[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(result[1], expected[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("option", [{"distance_metric": "l2"}, {"degenerate": "drop"}])
@pytest.mark.parametrize("kind", LOSSES)
def test_the_error_for_an_unknown_option_lists_the_known_ones(kind, option):
    with pytest.raises(ValueError, match="must be one of"):
        LOSSES[kind](**option)
