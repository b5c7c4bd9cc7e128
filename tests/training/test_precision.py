"""trainer.precision=auto: what is measured, what is chosen, and that a choice stays."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from whole_runs import one_worker

from conf.schema import Precision
from data.datasets import open_dataset
from data.feature_store import stores
from training import precision
from training.precision import resolve_precision


@pytest.fixture(autouse=True)
def float32_again():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def resolve(folder_config, image_folder_path, tmp_path):
    """Returns the precision of a run in `tmp_path`."""

    def run(*overrides: str) -> Precision:
        config = folder_config(image_folder_path, "data.image_size=32", *overrides)
        dataset = open_dataset(config.data, config.seed)
        resolved = resolve_precision(config, dataset, tmp_path, one_worker())
        trainer = dataclasses.replace(resolved.trainer, precision=config.trainer.precision)
        assert dataclasses.replace(resolved, trainer=trainer) == config  # nothing else changes
        return resolved.trainer.precision

    return run


@pytest.fixture
def timed(monkeypatch):
    """`timed(0.1)` has bfloat16 seem to take so many seconds, and float32 one."""

    def seem(bfloat16: float):
        seconds = iter([1.0, bfloat16] * precision.ROUNDS)
        monkeypatch.setattr(precision, "_seconds", lambda forward, images: next(seconds))

    return seem


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16"])
def test_a_given_precision_is_not_measured(resolve, monkeypatch, name):
    monkeypatch.setattr(precision, "_measure", None)
    assert resolve(f"trainer.precision={name}").value == name


def test_the_faster_one_is_chosen_and_reported(resolve, timed, caplog):
    timed(0.25)
    with caplog.at_level("INFO"):
        assert resolve("trainer.precision=auto") is Precision.mixed_bfloat16
    assert "trainer.precision=auto: mixed_bfloat16" in caplog.text
    assert "4.0 times as fast" in caplog.text


@pytest.mark.parametrize("bfloat16", [2.0, 0.95])
def test_bfloat16_must_be_clearly_faster(resolve, timed, bfloat16):
    timed(bfloat16)
    assert resolve("trainer.precision=auto") is Precision.float32


def test_the_features_must_agree(resolve, timed, monkeypatch):
    timed(0.25)
    monkeypatch.setattr(precision, "TOLERANCE", 1e-6)
    assert resolve("trainer.precision=auto") is Precision.float32


def test_both_are_really_measured(resolve, caplog):
    with caplog.at_level("INFO"):
        assert resolve("trainer.precision=auto") in (Precision.float32, Precision.mixed_bfloat16)
    difference = float(caplog.text.split("differ by ")[1].split("%")[0])
    assert 0 < difference < 2  # a few roundings to eight bits


def test_a_run_that_goes_on_keeps_its_choice(resolve, timed):
    timed(0.25)
    first = resolve("trainer.precision=auto")
    timed(4.0)
    assert resolve("trainer.precision=auto") is first


@pytest.mark.slow
def test_the_choice_is_part_of_the_store_s_key_and_the_head_stays_in_float32(
    train, timed, tmp_path
):
    timed(0.25)
    outcome, folder = train("trainer.precision=auto")
    assert outcome.status == 0, outcome.errors
    results = json.loads((folder / "metrics.json").read_text())
    assert results["precision"] == "mixed_bfloat16"
    for _, key, _, _ in stores(tmp_path / "features"):  # of features, and of inner products
        assert key["precision"] == "mixed_bfloat16" and key["dtype"] == "float32"
    model = keras.models.load_model(folder / "model.keras", compile=False)
    policies = {layer.name: layer.dtype_policy.name for layer in _flat(model)}
    assert policies["block1_conv2"] == "mixed_bfloat16"
    assert policies["second_order"] == policies["classifier"] == "float32"
    images = np.zeros((1, 32, 32, 3), np.float32)
    assert model(images).dtype == "float32"


def _flat(layer) -> list:
    inner = getattr(layer, "layers", []) or [getattr(layer, "model", None)]
    return [layer, *(chosen for child in inner if child is not None for chosen in _flat(child))]
