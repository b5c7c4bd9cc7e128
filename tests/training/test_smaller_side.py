"""Stage 1 on the smaller side: when it is possible, and that it equals training on descriptors.

SGD is compared in float64, where the difference is rounding, and whole runs are in float32.
"""

import json
import os
import random
import subprocess
import sys
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import COLOURS, ROOT
from whole_runs import one_worker

from conf.schema import Config
from data.inputs import ImageInputs, MemoryInputs
from evaluation.distances import distances_to_others
from evaluation.prediction import descriptor_model, predict_indices
from experiments import two_stages
from experiments.classification import Classification
from experiments.metric_learning import MetricLearning
from experiments.two_stages import TwoStageExperiment
from models.classifier import build_linear
from models.parts import StageInput
from training import gram_store
from training.callbacks import MetricsLog
from training.coordinates import Coordinates
from training.feature_extraction import descriptors, stored_features
from training.gram_store import GramStore
from training.initialization import standardize
from training.optimizers import build_optimizer
from training.smaller_side import why_not

# When it is possible


def parts(size: int = 100, trained: tuple = ()) -> SimpleNamespace:
    """Stands for a model with descriptors of `size` dimensions."""
    output = SimpleNamespace(shape=(None, size))
    return SimpleNamespace(
        descriptor=SimpleNamespace(output=output, trainable_weights=list(trained))
    )


def dataset(samples: int) -> SimpleNamespace:
    indices = np.arange(samples)
    return SimpleNamespace(splits={"train": indices}, indices=indices, test_is_drawn=True)


WHITENED = ["head.embedding=8", "head.embedding_init=whitening"]


@pytest.fixture
def reason(make_config, tmp_path):
    """Why a configuration trains on descriptors; of 20 samples with 100 dimensions, by default."""

    def reason(*overrides: str, samples: int = 20, model=None, workers=None) -> str | None:
        config = make_config(*overrides)
        workers = workers or one_worker()
        return why_not(config, dataset(samples), model or parts(), tmp_path, workers)

    return reason


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["solver=svm"],
        ["solver=svm", "optimizer=adamw"],  # of stage 2
        ["solver=svm", "head.dropout=0.5", "trainer.fine_tune_epochs=1"],
        ["head.standardize=false"],
        ["trainer.classes_per_batch=3"],
        ["optimizer.weight_decay=1e-3", "optimizer.clip_norm=1", "loss.label_smoothing=0.1"],
        ["optimizer.accumulation_steps=2", "optimizer.schedule=plateau"],
        ["trainer.stage_1_gib=0"],
        WHITENED,
        ["head.embedding=20", "head.embedding_init=pca", "data.mirror=true"],
        ["task=metric_learning", "loss=triplet_semi_hard", *WHITENED],
        [
            *["task=metric_learning", "loss=triplet_hard", *WHITENED],
            *["optimizer=adamw", "trainer.epochs=0"],
        ],
    ],
)
def test_most_configurations_train_on_the_smaller_side(reason, overrides):
    assert reason(*overrides) is None


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer.feature_store=false"], "trainer.feature_store=false"),
        (["head.embedding=8"], "head.embedding"),
        (["head.embedding=20", "head.embedding_init=pca", "data.mirror=false"], "head.embedding"),
        ([*WHITENED, "loss=softmax_center"], "loss=softmax_center"),
        (["head.dropout=0.5"], "head.dropout"),
        (["optimizer=adamw"], "optimizer=adamw"),
    ],
)
def test_the_reason_names_the_key(reason, overrides, expected):
    assert reason(*overrides).startswith(expected)


def test_a_trained_reduction_has_no_descriptors_yet(reason):
    model = parts(trained=(keras.Variable(1.0),))
    assert reason("head.reduction=8", model=model).endswith("reduction is trained")


def test_several_devices_train_on_descriptors(reason):
    workers = SimpleNamespace(replicas=2)
    assert reason(workers=workers) == "several devices train"


@pytest.mark.parametrize(
    ("overrides", "samples", "size", "smaller"),
    [
        (["data.mirror=false"], 99, 100, True),
        (["data.mirror=false"], 100, 100, False),
        (["data.mirror=true"], 49, 100, True),
        (["data.mirror=true"], 50, 100, False),  # 100 views
    ],
)
def test_there_must_be_fewer_samples_than_dimensions(reason, overrides, samples, size, smaller):
    why = reason(*overrides, samples=samples, model=parts(size))
    assert why == (None if smaller else "100 training samples, 100 dimensions")


def test_inner_products_take_at_most_half_of_the_memory(reason, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1000}.get(name, 1))
    assert "of memory" in reason()


@pytest.mark.parametrize("name", ["head.json", "head.state.npz", "head.weights.h5"])
def test_a_stage_that_began_on_descriptors_ends_on_them(reason, tmp_path, name):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).touch()
    assert reason() == "the run began on descriptors"


@pytest.mark.parametrize("name", ["head_coordinates.json", "fine_tune.json", "precision.json"])
def test_other_files_of_a_run_do_not_matter(reason, tmp_path, name):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).touch()
    assert reason() is None


# Gradient descent in float64

COUNT, SIZE, CLASSES = 24, 150, 3
TRAIN = np.arange(0, COUNT, 2)
LABELS = np.eye(CLASSES)[np.arange(COUNT) // 2 % CLASSES]


@pytest.fixture
def float64():
    """Keras computes in float64."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def made_descriptors(seed: int = 0) -> np.ndarray:
    """Two views of each image, of unit norm and with a large common part, (2, COUNT, SIZE)."""
    rng = np.random.default_rng(seed)
    vectors = 1 + rng.normal(size=(COUNT, SIZE)) + 0.5 * rng.normal(size=(2, COUNT, SIZE))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def on_coordinates(vectors: np.ndarray, config: Config) -> tuple[Coordinates, np.ndarray]:
    """The coordinates of all views in the span of the training samples, (2, COUNT, n)."""
    flat = vectors.reshape(-1, SIZE)
    train = np.concatenate([TRAIN, TRAIN + COUNT]) if config.data.mirror else TRAIN
    coordinates = Coordinates(flat @ flat.T, train)
    return coordinates, coordinates.values.reshape(2, COUNT, -1)


def trained(config: Config, array: np.ndarray, epochs: int = 20) -> keras.Model:
    """A classifier that gradient descent trains on samples, (2, COUNT, d): one view at random."""
    inputs = MemoryInputs(np.arange(COUNT), array if config.data.mirror else array[:1])
    linear = build_linear(config, inputs.shape, CLASSES)
    if config.head.standardize:
        standardize(linear, lambda batch: batch, inputs, TRAIN, 8)
    loss = keras.losses.CategoricalCrossentropy(True, config.loss.label_smoothing)
    optimizer = build_optimizer(config.optimizer, config.optimizer.learning_rate)
    optimizer.build(linear.trainable_variables)
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(TRAIN)
        for batch in np.split(order, 3):
            samples = inputs.training(batch, 0, epoch)
            with tf.GradientTape() as tape:
                value = loss(LABELS[batch], linear(samples, training=True))
            gradients = tape.gradient(value, linear.trainable_variables)
            optimizer.apply(gradients, linear.trainable_variables)
    return linear


def logits(linear: keras.Model, array: np.ndarray) -> np.ndarray:
    return linear(array.reshape(-1, array.shape[-1])).numpy()


EVERYTHING = (
    "data.mirror=true",
    "optimizer.weight_decay=1e-2",
    "optimizer.clip_norm=0.3",
    "loss.label_smoothing=0.1",
    "optimizer.momentum=0.9",
)


@pytest.mark.parametrize(
    "overrides",
    [
        EVERYTHING,
        (*EVERYTHING, "data.mirror=false"),
        (*EVERYTHING, "head.standardize=false", "optimizer.learning_rate=10"),
        (*EVERYTHING, "optimizer.accumulation_steps=2"),
        ("data.mirror=true", "optimizer.momentum=0"),
    ],
    ids=["everything", "one view", "not standardised", "accumulated", "plain"],
)
def test_in_float64_both_ways_are_the_same(float64, make_config, overrides):
    config, vectors = make_config(*overrides), made_descriptors()
    _, coordinates = on_coordinates(vectors, config)
    expected = logits(trained(config, vectors), vectors)
    assert np.ptp(expected) > 1 and keras.backend.standardize_dtype(expected.dtype) == "float64"
    np.testing.assert_allclose(
        logits(trained(config, coordinates), coordinates), expected, rtol=0, atol=1e-9
    )


def test_the_kernel_is_the_same_in_the_space_of_the_descriptors(float64, make_config):
    config, vectors = make_config(*EVERYTHING), made_descriptors()
    made, coordinates = on_coordinates(vectors, config)
    kernel, bias = trained(config, coordinates).get_layer("classifier").get_weights()
    expected_kernel, expected_bias = trained(config, vectors).get_layer("classifier").get_weights()
    own = vectors.reshape(-1, SIZE)[made.train].T @ made.dual(kernel)
    np.testing.assert_allclose(own, expected_kernel, rtol=0, atol=1e-9)
    np.testing.assert_allclose(bias, expected_bias, rtol=0, atol=1e-9)


def test_duplicates_and_zero_samples_are_learned_the_same_way(float64, make_config):
    config, vectors = make_config(*EVERYTHING), made_descriptors()
    vectors[:, TRAIN[3]] = vectors[:, TRAIN[2]]
    vectors[1, TRAIN[5]] = vectors[0, TRAIN[5]]
    vectors[:, TRAIN[7]] = 0
    _, coordinates = on_coordinates(vectors, config)
    expected = logits(trained(config, vectors), vectors)
    np.testing.assert_allclose(
        logits(trained(config, coordinates), coordinates), expected, rtol=0, atol=1e-7
    )


def test_adamw_is_not_the_same(float64, make_config):
    """Its steps have the same length along each axis, and the axes are others."""
    config, vectors = make_config("optimizer=adamw"), made_descriptors()
    _, coordinates = on_coordinates(vectors, config)
    difference = logits(trained(config, coordinates), coordinates) - logits(
        trained(config, vectors), vectors
    )
    assert np.abs(difference).max() > 0.1


# Whole runs in float32


class Interrupted(BaseException):
    pass


def raise_at(call: int, method, calls: list | None = None):
    """`method`, but its nth call raises; `calls` receives the arguments of each call."""
    calls = [] if calls is None else calls

    def raising(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise Interrupted
        return method(*arguments)

    return raising


@pytest.fixture
def configured(tmp_path, draw_images, make_config):
    """Configurations for images of similar colours."""
    for number in range(3):
        draw_images(tmp_path / "images" / str(number), 8, (120 + 4 * number, 120, 120))

    def config(*overrides: str) -> Config:
        return make_config(
            "data=image_folder",
            f"data.path={tmp_path / 'images'}",
            "data.image_size=32",
            "backbone=vgg16_random",
            "backbone.tap=block1_conv2",
            f"trainer.feature_dir={tmp_path / 'features'}",
            *overrides,
        )

    return config


@pytest.fixture
def trained_run(configured, tmp_path, monkeypatch):
    """Trains stage 1. A name with "descriptors" forces the other way."""

    def run(
        name: str, *overrides: str, kind: type[TwoStageExperiment] = Classification
    ) -> TwoStageExperiment:
        (tmp_path / name).mkdir()
        experiment = kind(configured(*overrides), tmp_path / name, one_worker())
        with monkeypatch.context() as patch:
            if name == "descriptors":
                patch.setattr(two_stages, "why_not", lambda *_: "a test compares both ways")
            experiment.open_data()
            experiment.build_model()
            experiment.train_head()
        assert (experiment.start is StageInput.coordinates) is (name != "descriptors")
        return experiment

    return run


def outputs(run: Classification) -> np.ndarray:
    """The logits of each stored view, as the stage computes them, (views, images, classes)."""
    return np.stack([run.network().predict(view, verbose=0) for view in run.inputs.array])


def assert_same_predictions(logits: np.ndarray, expected: np.ndarray) -> None:
    """Logits agree to 1e-3 of the largest one, and so do predictions, where they are not ties."""
    tolerance = 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
    second, best = np.sort(expected, axis=-1)[..., -2:].T
    clear = (best - second > 2 * tolerance).T
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(logits.argmax(axis=-1)[clear], expected.argmax(axis=-1)[clear])


STABLE = (  # at a rate of 10, label smoothing lets a change of 1e-6 grow to 1, on descriptors too
    "optimizer.learning_rate=1",
    "optimizer.weight_decay=1e-2",
    "optimizer.clip_norm=0.5",
    "loss.label_smoothing=0.1",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("data.average_mirror=true",),
        STABLE,
        ("head=mpn_cov", "data.mirror=true"),
        (*STABLE, "head.standardize=false"),
        ("data.mirror=false", "data.average_mirror=true", "trainer.classes_per_batch=2"),
    ],
)
def test_after_50_epochs_both_ways_predict_the_same(trained_run, overrides):
    coordinates, vectors = (trained_run(way, *overrides) for way in ("coordinates", "descriptors"))
    assert coordinates.inputs.shape[0] < vectors.inputs.shape[0]
    assert coordinates.stages["head"]["epochs"] == vectors.stages["head"]["epochs"] == 50
    assert_same_predictions(outputs(coordinates), outputs(vectors))


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [(), ("data.mirror=false", "data.average_mirror=true")])
def test_an_svm_is_the_same_on_both_ways(trained_run, overrides):
    ways = ("coordinates", "descriptors")
    runs = [trained_run(way, "solver=svm", *overrides) for way in ways]
    assert_same_predictions(*map(outputs, runs))


@pytest.mark.slow
def test_without_mirrored_training_images_both_ways_read_the_plain_ones(trained_run):
    """`data.average_mirror` stores the mirrored images too, and only evaluation reads them."""
    overrides = ("data.mirror=false", "data.average_mirror=true", "trainer.epochs=3")
    coordinates, vectors = (trained_run(way, *overrides) for way in ("coordinates", "descriptors"))
    train = coordinates.dataset.splits["train"]
    assert coordinates.inputs.shape == (len(train),)
    for run in (coordinates, vectors):
        np.testing.assert_array_equal(
            run.inputs.training(train, seed=0, epoch=0), run.inputs.evaluation(train)
        )
    assert_same_predictions(outputs(coordinates), outputs(vectors))


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        pytest.param(("head.standardize=false",), marks=pytest.mark.slow),
        pytest.param(("data.mirror=false",), marks=pytest.mark.slow),
    ],
)
def test_the_saved_model_is_that_of_the_coordinates(trained_run, overrides):
    run = trained_run("coordinates", "solver=svm", *overrides)
    expected = outputs(run)[0]
    features = stored_features(run.config, run.dataset, run.parts.backbone)
    vectors = descriptors(run.config, features, run.parts.descriptor).array[0]
    logits = run.parts.linear.predict(vectors, verbose=0)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    run.evaluate()
    model = keras.models.load_model(run.folder / "model.keras")
    images = ImageInputs(run.dataset.images, run.config.data).evaluation(run.dataset.splits["test"])
    np.testing.assert_allclose(model.predict(images, verbose=0), run.probabilities, atol=3e-5)


# With an embedding


@pytest.mark.slow
@pytest.mark.parametrize("init", ["pca", "whitening"])
def test_a_classifier_behind_an_embedding_is_the_same_on_both_ways(trained_run, init):
    overrides = ("head.embedding=6", f"head.embedding_init={init}", "optimizer.learning_rate=0.1")
    coordinates, vectors = (trained_run(way, *overrides) for way in ("coordinates", "descriptors"))
    assert coordinates.inputs.shape[0] < vectors.inputs.shape[0]
    assert_same_predictions(outputs(coordinates), outputs(vectors))


RETRIEVAL = (
    "task=metric_learning",
    "loss=triplet_semi_hard",
    "head.embedding=5",
    "head.embedding_init=whitening",
    "trainer.classes_per_batch=3",
    "optimizer.learning_rate=0.1",
)


@pytest.fixture
def retrieval(trained_run, draw_images, tmp_path):
    """Trains an embedding of three classes; those of the other three are the test split."""
    for number in range(3, 6):
        draw_images(tmp_path / "images" / str(number), 8, (120 + 4 * number, 120, 120))

    def run(name: str, *overrides: str) -> TwoStageExperiment:
        return trained_run(name, *RETRIEVAL, *overrides, kind=MetricLearning)

    return run


def distances(vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([block for _, block in distances_to_others(vectors)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.epochs=3",),
        ("optimizer=adamw", "trainer.epochs=0"),
        ("trainer.epochs=0", "data.average_mirror=true", "head.embedding_l2=false"),
    ],
)
def test_retrieval_is_the_same_on_both_ways(retrieval, overrides):
    """The axes of the embedding may have other signs, so its distances are compared."""
    coordinates, vectors = (retrieval(way, *overrides) for way in ("coordinates", "descriptors"))
    assert coordinates.inputs.shape[0] < vectors.inputs.shape[0]
    test = coordinates.dataset.splits["test"]
    embedded = [
        predict_indices(run.network(), run.inputs, test, 32, run.config.data.average_mirror)
        for run in (coordinates, vectors)
    ]
    np.testing.assert_allclose(*map(distances, embedded), rtol=1e-3, atol=1e-3)
    assert coordinates.untrained == pytest.approx(vectors.untrained, abs=1e-6)


def test_untrained_vectors_have_the_inner_products_of_the_descriptors(retrieval):
    run = retrieval("coordinates", "trainer.epochs=0", "data.average_mirror=true")
    test = run.dataset.splits["test"]
    features = stored_features(run.config, run.dataset, run.parts.backbone)
    model = descriptor_model(run.parts.descriptor, features)
    expected = predict_indices(model, features, test, 32, average_mirror=True)
    vectors = run.smaller_side.vectors(test, average_mirror=True)
    assert vectors.shape[1] < expected.shape[1]
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_saved_embedding_is_that_of_the_coordinates(retrieval):
    run = retrieval("coordinates", "trainer.epochs=2")
    test = run.dataset.splits["test"]
    expected = predict_indices(run.network(), run.inputs, test, 32)
    features = stored_features(run.config, run.dataset, run.parts.backbone)
    saved = run.parts.network(StageInput.features)
    np.testing.assert_allclose(predict_indices(saved, features, test, 32), expected, atol=1e-4)


# The inner products of a run


def test_before_stage_2_an_official_test_split_is_not_described(trained_run, tmp_path, draw_images):
    for split, count in (("train", 8), ("test", 5)):
        for number in range(3):
            colour = (120 + 4 * number, 120, 120)
            draw_images(tmp_path / "official" / split / str(number), count, colour)
    path, average = f"data.path={tmp_path / 'official'}", "data.average_mirror=true"
    frozen = trained_run("frozen", path, average)
    tuned = trained_run("tuned", path, average, "trainer.fine_tune_epochs=1")

    splits = tuned.dataset.splits
    assert len(splits["test"]) == 15
    both = np.sort(np.concatenate([splits["train"], splits["val"]]))
    np.testing.assert_array_equal(tuned.smaller_side.indices, both)
    np.testing.assert_array_equal(frozen.smaller_side.indices, frozen.dataset.indices)
    assert tuned.score("val") == pytest.approx(frozen.score("val"), rel=1e-4)
    for weight, expected in zip(
        tuned.parts.linear.get_weights(), frozen.parts.linear.get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_drawn_test_split_is_described_since_other_seeds_train_on_it(trained_run):
    run = trained_run("tuned", "trainer.fine_tune_epochs=1")
    np.testing.assert_array_equal(run.smaller_side.indices, run.dataset.indices)


def test_a_second_seed_describes_nothing(trained_run, monkeypatch):
    trained_run("first", "solver=svm")
    monkeypatch.setattr(GramStore, "compute", None)  # cannot be called
    second = trained_run("second", "solver=svm", "seed=1")
    assert second.stages["head"]["val"]["accuracy"] > 0.3


@pytest.fixture
def store_of(configured, tmp_path, monkeypatch):
    """The name of the store of a run's inner products."""

    def name(overrides: str) -> str:
        folder = tmp_path / (overrides or "default")
        folder.mkdir()
        experiment = Classification(configured(*overrides.split()), folder, one_worker())
        opened = []
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(GramStore, "open", raise_at(1, lambda store, *_: None, opened))
            experiment.open_data()
            experiment.build_model()
            experiment.read_features()
        [(store, _)] = opened
        return store.folder.name

    return name


@pytest.mark.slow
def test_runs_that_differ_after_the_descriptors_share_them(store_of):
    alike = (
        "",
        "seed=1",
        "data.val_fraction=0.4",
        "solver=svm",
        "optimizer.learning_rate=3",
        "head.standardize=false",
        "trainer.stage_1_gib=0",
    )
    assert len(set(map(store_of, alike))) == 1


@pytest.mark.slow
def test_other_descriptors_have_other_inner_products(store_of):
    different = (
        "head=bilinear",
        "head=improved_bilinear",
        "head=mpn_cov",
        "head=mpn_cov head.epsilon=1e-3",
        "head=log_euclidean",
        "head=power",
        "head=power head.exponent=0.5",
        "head=max_exp",
        "head=max_exp head.eta=3",
        "head=gaussian",
        "head=compact_bilinear",
        "head=compact_bilinear seed=1",
        "data.mirror=false",
        "backbone.seed=1",
        "data.limit=2",
    )
    assert len(set(map(store_of, different))) == len(different)


# Interrupted


def metrics(folder) -> dict:
    """All of `metrics.json` but the seconds."""
    results = json.loads((folder / "metrics.json").read_text())
    for record in [results, *results["stages"].values()]:
        record.pop("seconds")
    return results


def curves(folder) -> list[str]:
    return (folder / "metrics.jsonl").read_text().splitlines()


OVERRIDES = (
    "trainer.epochs=4",
    "trainer.checkpoint_seconds=0",
    "trainer.epoch_lines=true",
    "trainer.stage_1_gib=0",  # a shard at a time
    "data.mirror=true",
)


@pytest.fixture(scope="module")
def uninterrupted() -> dict:
    return {}


@pytest.fixture
def whole(train, uninterrupted, monkeypatch) -> dict:
    """Metrics and curves of a run that nothing interrupts; its 60 samples are two shards."""
    monkeypatch.setattr(gram_store, "SHARD_SAMPLES", 32)
    if not uninterrupted:
        _, folder = train(*OVERRIDES, name="whole")
        uninterrupted.update(metrics=metrics(folder), curves=curves(folder))
    return uninterrupted


@pytest.mark.parametrize(
    ("kind", "method", "call"),
    [
        pytest.param(GramStore, "compute", 2, id="inner products", marks=pytest.mark.slow),
        pytest.param(MetricsLog, "on_epoch_end", 2, id="training"),
        pytest.param(Coordinates, "dual", 1, id="return", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_interrupted_a_run_ends_with_the_same_metrics(
    train, whole, monkeypatch, tmp_path, kind, method, call
):
    features = f"trainer.feature_dir={tmp_path / 'own'}"
    with monkeypatch.context() as patch:
        patch.setattr(kind, method, raise_at(call, getattr(kind, method)))
        with pytest.raises(Interrupted):
            train(*OVERRIDES, features)
    outcome, folder = train(*OVERRIDES, features)
    assert outcome.status == 0, outcome.errors
    assert ("Epoch 1/" in outcome.output) is (kind is GramStore)
    assert (metrics(folder), curves(folder)) == (whole["metrics"], whole["curves"])


@pytest.mark.slow
def test_what_began_on_descriptors_ends_on_them(train, monkeypatch):
    """An earlier version began the run."""
    with monkeypatch.context() as patch:
        patch.setattr(two_stages, "why_not", lambda *_: "there was no other way")
        patch.setattr(MetricsLog, "on_epoch_end", raise_at(3, MetricsLog.on_epoch_end))
        with pytest.raises(Interrupted):
            train(*OVERRIDES)
    outcome, folder = train(*OVERRIDES)
    assert outcome.status == 0, outcome.errors
    assert "stage 1 on descriptors: the run began on descriptors" in outcome.output
    assert "Epoch 3/" in outcome.output and "Epoch 1/" not in outcome.output
    assert not list((folder / "checkpoints").glob("head_coordinates*"))


def start(images, folder) -> subprocess.Popen:
    arguments = (
        "data=image_folder",
        f"data.path={images}",
        "data.image_size=32",
        "backbone.tap=block1_conv2",
        "trainer.epochs=400",
        "trainer.checkpoint_seconds=0.1",
        "trainer.epoch_lines=true",
        "trainer.stage_1_gib=0",
        "data.mirror=true",
        f"trainer.feature_dir={folder / 'features'}",
        f"hydra.run.dir={folder / 'run'}",
    )
    return subprocess.Popen(
        [sys.executable, "train.py", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def wait_for_the_run(process: subprocess.Popen) -> None:
    """Waits until TensorFlow is loaded, and the run begins."""
    assert " on " in process.stdout.readline()


def seconds_of(process: subprocess.Popen) -> float:
    wait_for_the_run(process)
    begin = time.monotonic()
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return time.monotonic() - begin


@pytest.mark.slow
def test_killed_at_ten_random_moments_a_run_ends_with_the_same_metrics(tmp_path, draw_images):
    for name, colour in COLOURS.items():
        draw_images(tmp_path / "images" / name, 60, colour)  # 360 views: six shards
    seconds = seconds_of(start(tmp_path / "images", tmp_path / "whole"))
    moments, reached = random.Random(0), []
    for _ in range(10):
        process = start(tmp_path / "images", tmp_path / "killed")
        wait_for_the_run(process)
        time.sleep(0.3 * seconds * moments.random())
        if process.poll() is not None:
            break
        process.kill()
        reached += process.communicate()[0].splitlines()[-1:]
    seconds_of(start(tmp_path / "images", tmp_path / "killed"))
    assert len(set(reached)) > 3, reached  # not all in one place
    killed, whole = tmp_path / "killed" / "run", tmp_path / "whole" / "run"
    assert (metrics(killed), curves(killed)) == (metrics(whole), curves(whole))
