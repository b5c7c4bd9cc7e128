"""Training on descriptors in memory gives the weights of a stage, in less time."""

import keras
import numpy as np
import pytest
from whole_runs import one_worker

from data.datasets import Dataset
from data.inputs import MemoryInputs
from experiments.post_mortem.in_memory import fit_in_memory
from training.objectives import classification_objective
from training.stage import Stage, fit_stage

LABELS = np.arange(48) % 3
INDICES = {"train": np.arange(22), "val": np.arange(22, 34), "test": np.arange(34, 48)}
SHORT = ("trainer.batch_size=8", "trainer.epochs=6")  # the last batch has six samples


class Labelled:
    """The only attribute of images that is read."""

    labels = LABELS


def dataset(**splits) -> Dataset:
    return Dataset("made", Labelled(), ["ant", "bee", "cat"], INDICES | splits, "")


def vectors(views: int = 2) -> MemoryInputs:
    """Views of overlapping classes."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, (3, 5))[LABELS]
    array = centres + rng.normal(0, 1, (views, len(LABELS), 5))
    return MemoryInputs(np.arange(len(LABELS)), array.astype(np.float32))


def linear() -> keras.Model:
    vector = keras.Input((5,))
    dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(0))
    return keras.Model(vector, dense(vector))


@pytest.mark.parametrize(
    "options",
    [
        ("optimizer.learning_rate=0.3",),
        ("optimizer.schedule=plateau", "optimizer.plateau_epochs=1", "optimizer.warmup_epochs=1"),
        ("optimizer=adamw", "loss.label_smoothing=0.1", "trainer.early_stopping=1"),
    ],
    ids=" ".join,
)
def test_it_gives_the_weights_and_the_record_of_a_stage(make_config, tmp_path, options):
    config, inputs, made = make_config(*SHORT, *options), vectors(), dataset()
    quick, slow = linear(), linear()
    record = fit_in_memory(quick, inputs, made, config)
    stage = Stage(
        "head",
        slow,
        inputs,
        6,
        0,
        8,
        config.optimizer.learning_rate,
        classification_objective(config.loss, 3),
    )
    expected = fit_stage(stage, made, config, tmp_path, one_worker())
    for actual, desired in zip(quick.get_weights(), slow.get_weights(), strict=True):
        np.testing.assert_allclose(actual, desired, rtol=1e-4, atol=1e-5)
    for key in ("epochs", "chosen_epoch", "chosen_by"):
        assert record[key] == expected[key]
    chosen = record["history"][record["chosen_epoch"] - 1]
    assert chosen["val_accuracy"] == pytest.approx(expected["val_accuracy"])


def test_without_validation_the_last_epoch_is_kept(make_config, capsys):
    nothing = dataset(val=np.array([], np.int64))
    record = fit_in_memory(linear(), vectors(1), nothing, make_config(*SHORT))
    assert capsys.readouterr().out == "", "its bar is to disappear"
    assert (record["epochs"], record["chosen_epoch"]) == (6, 6)
    assert record["chosen_by"] == "last epoch (no validation split)"
    assert set(record["history"][0]) == {"loss"}


def test_a_loss_that_is_not_finite_ends_the_training_and_is_recorded(make_config):
    config = make_config(*SHORT, "optimizer.learning_rate=1e38")
    record = fit_in_memory(linear(), vectors(), dataset(), config)
    assert record["epochs"] < 6
    assert not np.isfinite(record["history"][-1]["loss"])
