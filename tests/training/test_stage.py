"""One stage of training, on made vectors."""

import contextlib
import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from whole_runs import one_worker

from conf.schema import LossConfig
from data.datasets import Dataset
from data.inputs import ArrayInputs
from errors import UserError
from models.model_layers import Normalization
from training.checkpoints import Checkpoints
from training.objectives import classification_objective
from training.stage import Stage, fit_stage

CLASSES = ["ant", "bee", "cat"]
INDICES = np.arange(60)
LABELS = INDICES % 3


class Labelled:
    """All that a stage asks of images."""

    labels = LABELS


def vectors() -> np.ndarray:
    """Vectors that tell the classes apart."""
    noise = np.random.default_rng(0).normal(0, 0.2, (60, 3))
    return (np.eye(3)[LABELS] + noise).astype(np.float32)


def inputs_of(array: np.ndarray) -> ArrayInputs:
    return ArrayInputs(
        INDICES, lambda indices, views: array[indices], array.shape[1:], array.dtype, 1
    )


def dataset(val: int = 15) -> Dataset:
    splits = {"train": INDICES[:30], "val": INDICES[30 : 30 + val], "test": INDICES[45:]}
    return Dataset("made", Labelled(), CLASSES, splits, "")


def misled() -> np.ndarray:
    """Vectors whose classes mean something else in validation: learning makes it worse."""
    array = vectors()
    array[30:45] = np.roll(array[30:45], 1, axis=1)
    return array


def linear(kernel: np.ndarray | None = None) -> keras.Model:
    vector = keras.Input((3,))
    start = keras.initializers.GlorotUniform(0)
    dense = keras.layers.Dense(3, kernel_initializer=start, name="dense")
    model = keras.Model(vector, dense(vector))
    if kernel is not None:
        dense.set_weights([kernel, np.zeros(3)])
    return model


def stage_of(model: keras.Model, array=None, epochs: int = 6, **options) -> Stage:
    inputs = inputs_of(vectors() if array is None else array)
    return Stage(
        **{
            "name": "head",
            "model": model,
            "inputs": inputs,
            "epochs": epochs,
            "first_epoch": 0,
            "batch_size": 8,
            "learning_rate": 0.5,
            "objective": classification_objective(LossConfig(), len(CLASSES)),
            **options,
        }
    )


def accuracy(model: keras.Model, array: np.ndarray, indices: np.ndarray) -> float:
    return float(
        np.mean(model.predict(array[indices], verbose=0).argmax(axis=1) == LABELS[indices])
    )


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def scalars(folder) -> dict[str, list[float]]:
    """The curves of an event file."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    tensors = {
        tag: [e.tensor_proto for e in events.Tensors(tag)] for tag in events.Tags()["tensors"]
    }
    return {
        tag: [float(tf.make_ndarray(proto)) for proto in protos]
        for tag, protos in tensors.items()
        if not protos[0].string_val
        and protos[0].tensor_shape.dim == tf.TensorShape([]).as_proto().dim
    }


@pytest.fixture(scope="module")
def config(make_config):
    return make_config("optimizer.schedule=constant")


def misled_stage(epochs: int = 6) -> Stage:
    """A stage whose model begins by solving the misleading validation, and will unlearn it."""
    kernel = 3 * np.roll(np.eye(3), 1, axis=0)
    return stage_of(linear(kernel), misled(), epochs, learning_rate=0.1)


# Which weights stay


def test_a_stage_learns(config, tmp_path):
    model = linear()
    record = fit_stage(stage_of(model), dataset(), config, tmp_path, one_worker())
    assert accuracy(model, vectors(), INDICES) > 0.95
    assert record["val_accuracy"] == accuracy(model, vectors(), dataset().splits["val"])
    assert record["epochs"] == 6


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_small_stage_trains_whole_epochs_in_one_call_with_the_same_results(
    make_config, tmp_path, schedule
):
    config = make_config(
        f"optimizer.schedule={schedule}",
        "optimizer.warmup_epochs=1.5",
        "optimizer.plateau_epochs=1",
    )
    weights, calls = [], []
    for small in (False, True):
        model = linear()
        stage = stage_of(model, misled(), small=small)
        fit_stage(stage, dataset(), config, tmp_path / str(small), one_worker())
        weights.append(model.get_weights())
        calls.append(lines_of(tmp_path / str(small)))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(*calls, strict=True):
        assert one.pop("stage") == other.pop("stage") == "head"
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    curves = [scalars(tmp_path / name / "dynamics") for name in ("False", "True")]
    assert curves[0].keys() == curves[1].keys() and "update norm/dense/kernel" in str(curves[0])
    for tag, values in curves[0].items():
        np.testing.assert_allclose(values, curves[1][tag], rtol=1e-3, atol=1e-6)


def test_the_epoch_of_the_best_val_accuracy_stays(config, tmp_path):
    stage = misled_stage()
    record = fit_stage(stage, dataset(), config, tmp_path, one_worker())
    curve = [line["val_accuracy"] for line in lines_of(tmp_path)]
    assert curve[-1] < max(curve), "or the last epoch would be the best one"
    assert record["chosen_epoch"] == 1 + int(np.argmax(curve))
    assert record["chosen_by"] == "best val_accuracy"
    assert record["val_accuracy"] == pytest.approx(max(curve))
    assert accuracy(stage.model, misled(), dataset().splits["val"]) == pytest.approx(max(curve))


def test_without_validation_the_last_epoch_stays(config, tmp_path):
    stage = misled_stage(epochs=12)
    record = fit_stage(stage, dataset(val=0), config, tmp_path, one_worker())
    assert record["chosen_epoch"] == record["epochs"] == 12
    assert record["chosen_by"] == "last epoch (no validation split)"
    assert accuracy(stage.model, misled(), dataset().splits["train"]) > 0.95
    assert "val_accuracy" not in record


def test_early_stopping_ends_a_stage_that_no_longer_gets_better(make_config, tmp_path):
    config = make_config("optimizer.schedule=constant", "trainer.early_stopping=2")
    record = fit_stage(misled_stage(epochs=30), dataset(), config, tmp_path, one_worker())
    assert record["epochs"] == record["chosen_epoch"] + 2 < 30


def test_early_stopping_without_validation_has_no_effect_and_says_so(make_config, tmp_path, caplog):
    config = make_config("trainer.early_stopping=1")
    record = fit_stage(misled_stage(epochs=3), dataset(val=0), config, tmp_path, one_worker())
    assert record["epochs"] == 3
    assert "trainer.early_stopping has no effect" in caplog.text


def test_a_stage_that_was_killed_after_it_stopped_early_trains_no_further(
    make_config, tmp_path, monkeypatch
):
    config = make_config(
        "optimizer.schedule=constant", "trainer.early_stopping=2", "trainer.checkpoint_seconds=0"
    )
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = fit_stage(misled_stage(epochs=30), dataset(), config, tmp_path / "whole", one_worker())

    def killed(checkpoints, model):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "choose", killed)
        fit_stage(misled_stage(epochs=30), dataset(), config, tmp_path / "killed", one_worker())
    again = fit_stage(misled_stage(epochs=30), dataset(), config, tmp_path / "killed", one_worker())
    assert again | {"seconds": 0} == whole | {"seconds": 0}


def test_the_same_seed_trains_the_same_weights(make_config, tmp_path):
    ends = []
    for number, seed in enumerate((1, 1, 2)):
        model, folder = linear(), tmp_path / str(number)
        folder.mkdir()
        fit_stage(
            stage_of(model, epochs=2),
            dataset(val=0),
            make_config(f"seed={seed}"),
            folder,
            one_worker(),
        )
        ends.append(model.get_weights()[0])
    np.testing.assert_array_equal(ends[0], ends[1])
    assert (ends[0] != ends[2]).any()


@pytest.mark.parametrize("val", [15, 0], ids=["validated", "without validation"])
def test_the_average_of_the_weights_is_validated_and_kept(make_config, tmp_path, val):
    config, ends = make_config("optimizer.schedule=constant"), []
    for epochs in (0.0, 2.0):
        (folder := tmp_path / str(epochs)).mkdir()
        stage = stage_of(linear(), epochs=3, average_epochs=epochs)
        record = fit_stage(stage, dataset(val), config, folder, one_worker())
        ends.append(stage.model.get_weights()[0])
        if val:
            assert record["val_accuracy"] == accuracy(stage.model, vectors(), INDICES[30:45])
    start = linear().get_weights()[0]
    latest, average = (np.linalg.norm(end - start) for end in ends)
    assert 0 < average < latest


def following() -> keras.Model:
    """`linear` behind a mean that follows the vectors."""
    vector = keras.Input((3,))
    layer = Normalization(name="standardize")
    layer.follows = True
    return keras.Model(vector, linear()(layer(vector)))


@pytest.fixture
def interrupt(monkeypatch):
    """Ends the training in the block at the beginning of its third epoch."""
    begin_epoch = Checkpoints.on_epoch_begin

    def interrupted(checkpoints, epoch, logs=None):
        begin_epoch(checkpoints, epoch, logs)
        if epoch == 2:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def block():
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Checkpoints, "on_epoch_begin", interrupted)
            yield

    return block


@pytest.mark.parametrize("model", [linear, following])
def test_an_interrupted_stage_goes_on_with_its_average(make_config, tmp_path, interrupt, model):
    config = make_config("optimizer.schedule=constant", "trainer.checkpoint_seconds=0")

    def fitted(name):
        (tmp_path / name).mkdir(exist_ok=True)
        stage = stage_of(model(), average_epochs=1.5)
        record = fit_stage(stage, dataset(), config, tmp_path / name, one_worker())
        return stage.model.get_weights(), lines_of(tmp_path / name), record | {"seconds": 0}

    with interrupt():
        fitted("interrupted")
    (weights, *rest), (expected, *others) = fitted("interrupted"), fitted("whole")
    for weight, value in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert rest == others


def test_a_stage_that_an_earlier_version_began_goes_on(make_config, tmp_path, interrupt):
    config = make_config("trainer.checkpoint_seconds=0")
    with interrupt():
        fit_stage(
            stage_of(following(), average_epochs=1.5), dataset(), config, tmp_path, one_worker()
        )
    [path] = tmp_path.glob("checkpoints/*.state.npz")
    with np.load(path) as saved:
        earlier = {name: saved[name] for name in saved if name != "average 2"}
        assert len(earlier) == len(saved) - 1
    np.savez(path, **earlier)
    stage = stage_of(following(), average_epochs=1.5)
    assert fit_stage(stage, dataset(), config, tmp_path, one_worker())["epochs"] == 6


def test_a_factor_changes_the_learning_rate_of_its_variable(make_config, tmp_path):
    config = make_config("optimizer.schedule=constant")
    model = linear()
    before = [weight.numpy() for weight in model.weights]
    stage = stage_of(model, rate_factors={model.trainable_variables[0].path: 0.0})
    fit_stage(stage, dataset(val=0), config, tmp_path, one_worker())
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert (model.get_weights()[1] != before[1]).any()


# The files of a stage


def test_each_epoch_leaves_a_line_of_metrics(make_config, tmp_path):
    config = make_config("optimizer.schedule=step", "optimizer.step_epochs=1")
    fit_stage(stage_of(linear(), epochs=2), dataset(), config, tmp_path, one_worker())
    first, second = lines_of(tmp_path)
    assert first.keys() >= {"loss", "accuracy", "top5_accuracy", "val_loss", "val_accuracy"}
    assert (first["stage"], first["epoch"], second["epoch"]) == ("head", 1, 2)
    assert first["learning_rate"] == pytest.approx(0.5)
    assert second["learning_rate"] == pytest.approx(0.05)


def test_a_stage_prints_its_bar_or_the_lines_of_keras(make_config, tmp_path, capsys):
    fit_stage(stage_of(linear(), epochs=2), dataset(), make_config(), tmp_path, one_worker())
    *_, line = capsys.readouterr().out.splitlines()
    assert line.startswith("head: 100%|") and "| 2/2 epochs in " in line
    later = stage_of(linear(), epochs=2, name="fine_tune", first_epoch=2)
    lines = make_config("trainer.epoch_lines=true")
    fit_stage(later, dataset(), lines, tmp_path, one_worker())
    first, metrics, *others = capsys.readouterr().out.splitlines()
    assert first == "Epoch 3/4" and "val_accuracy: " in metrics and len(others) == 2


def test_only_the_chief_prints(config, tmp_path, capsys, monkeypatch):
    other = dataclasses.replace(one_worker(), index=1)
    monkeypatch.setattr(Checkpoints, "load", lambda checkpoints, model: None)  # waits for the chief
    fit_stage(stage_of(linear(), epochs=1), dataset(), config, tmp_path, other)
    assert capsys.readouterr().out == ""


def test_a_later_stage_counts_its_epochs_on(config, tmp_path):
    fit_stage(stage_of(linear(), epochs=2), dataset(), config, tmp_path, one_worker())
    later = stage_of(linear(), epochs=2, name="fine_tune", first_epoch=2)
    record = fit_stage(later, dataset(), config, tmp_path, one_worker())
    assert [(line["stage"], line["epoch"]) for line in lines_of(tmp_path)] == [
        ("head", 1),
        ("head", 2),
        ("fine_tune", 3),
        ("fine_tune", 4),
    ]
    assert record["epochs"] == 2 and record["chosen_epoch"] in (3, 4)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        "head.weights.h5",
        "head.json",
        "fine_tune.weights.h5",
        "fine_tune.json",
    }


def test_a_later_stage_s_random_orders_go_on_too(config, tmp_path):
    epochs = []

    class Watched(ArrayInputs):
        def training(self, indices, seed, epoch):
            epochs.append(epoch)
            return super().training(indices, seed, epoch)

    inputs = Watched(INDICES, lambda indices, views: vectors()[indices], (3,), np.float32, 1)
    fit_stage(
        stage_of(linear(), inputs=inputs, first_epoch=4), dataset(), config, tmp_path, one_worker()
    )
    assert min(epochs) == 4


def test_tensorboard_gets_curves_of_training_and_validation(config, tmp_path):
    fit_stage(stage_of(linear(), epochs=1), dataset(), config, tmp_path, one_worker())
    for part in ("train", "validation"):
        assert list((tmp_path / "tensorboard" / part).glob("events*"))


def test_the_model_itself_stays_uncompiled(config, tmp_path):
    model = linear()
    fit_stage(stage_of(model, epochs=1), dataset(), config, tmp_path, one_worker())
    assert not model.compiled


# Errors that stop a stage


def test_a_loss_that_diverges_stops_with_advice(config, tmp_path):
    array = vectors()
    array[7] = np.nan
    with pytest.raises(UserError, match=r"loss became nan in epoch 1.*optimizer\.learning_rate"):
        fit_stage(stage_of(linear(), array), dataset(), config, tmp_path, one_worker())
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_sample_that_cannot_be_read_is_named(config, tmp_path):
    def take(indices, views):
        raise UserError("oak/1.png cannot be decoded (it is text); mend or remove it")

    broken = ArrayInputs(INDICES, take, (3,), np.float32, 1)
    with pytest.raises(UserError, match=r"^oak/1\.png cannot be decoded"):
        fit_stage(stage_of(linear(), inputs=broken), dataset(), config, tmp_path, one_worker())


def test_a_trained_model_is_kept_if_no_epoch_is_better(config, tmp_path):
    model = linear(np.eye(3, dtype=np.float32))  # right at once on `vectors`
    stage = stage_of(model, misled_training(), start_epoch=5, epochs=3, first_epoch=7)
    record = fit_stage(stage, dataset(), config, tmp_path, one_worker())
    assert record["chosen_epoch"] == 5 and record["epochs"] == 3
    assert record["chosen_by"] == "best val_accuracy: no epoch of stage head was better"
    assert record["val_accuracy"] == 1
    np.testing.assert_array_equal(model.get_layer("dense").kernel, np.eye(3))
    assert max(line["val_accuracy"] for line in lines_of(tmp_path)) < 1


def test_a_trained_model_can_improve(config, tmp_path):
    stage = stage_of(linear(), start_epoch=0)
    record = fit_stage(stage, dataset(), config, tmp_path, one_worker())
    assert record["chosen_epoch"] >= 1 and record["val_accuracy"] == 1


def misled_training() -> np.ndarray:
    """Vectors whose classes mean something else in training: learning makes it worse."""
    array = vectors()
    array[:30] = np.roll(array[:30], 1, axis=1)
    return array
