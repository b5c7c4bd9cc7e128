"""Whole runs on KerasHub presets: what works with other backbones works with tokens too."""

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
from made_presets import SIZES, write_preset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytest.importorskip("keras_hub", reason="requirements-keras-hub.txt is not installed")

FINE_TUNED = (
    "head=mpn_cov",
    "trainer.epochs=2",
    "trainer.fine_tune_epochs=2",
    "trainer.checkpoint_seconds=0",
    "optimizer.depth_factor=0.7",
    "data.mirror=true",
    "data.average_mirror=true",
)


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> SimpleNamespace:
    """The overrides that choose a small DINOv2."""
    folder = write_preset(tmp_path_factory.mktemp("dinov2") / "preset", "dinov2")
    backbone = ("backbone=keras_hub", f"backbone.preset={folder}", "backbone.tap=null")
    return SimpleNamespace(overrides=(*backbone, f"data.image_size={SIZES['dinov2']}"))


def metrics(folder) -> dict:
    """All of `metrics.json` but the seconds."""
    results = json.loads((folder / "metrics.json").read_text())
    for record in results["stages"].values():
        record.pop("seconds")
    return {key: each for key, each in results.items() if key != "seconds"}


class Interrupted(BaseException):
    pass


@pytest.mark.slow
def test_an_interrupted_fine_tuning_goes_on_exactly(train, preset, monkeypatch, command):
    from training.callbacks import MetricsLog

    _, whole = train(*preset.overrides, *FINE_TUNED, name="whole")
    on_epoch_end = MetricsLog.on_epoch_end

    def interrupt(log, number, logs=None):
        on_epoch_end(log, number, logs)
        if log.stage == "fine_tune":
            raise Interrupted

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(MetricsLog, "on_epoch_end", interrupt)
        train(*preset.overrides, *FINE_TUNED, name="interrupted")
    _, resumed = train(*preset.overrides, *FINE_TUNED, name="interrupted")
    assert metrics(resumed) == metrics(whole)

    board = EventAccumulator(str(whole / "tensorboard"), {"tensors": 0}).Reload()
    assert {"test/evidence", "test/spectrum"} <= set(board.Tags()["tensors"])
    outcome = command("evaluate.py", whole)
    assert outcome.status == 0, outcome.errors
    have_onnx = all(importlib.util.find_spec(name) for name in ("onnxruntime", "tf2onnx"))
    for kind in ("savedmodel", "tflite", *(["onnx"] if have_onnx else [])):
        outcome = command("export.py", whole, "--format", kind)
        assert outcome.status == 0, outcome.errors


@pytest.mark.parametrize(
    "head",
    [
        ("head=class_token",),
        pytest.param(
            ("head=moment_probing", "optimizer=adamw", "head.projection=28", "head.groups=2"),
            marks=pytest.mark.slow,
        ),
        pytest.param(("head=attentive", "optimizer=adamw"), marks=pytest.mark.slow),
        pytest.param(("head=average_tokens", "head.reduction=8"), marks=pytest.mark.slow),
        pytest.param(("head=class_token", "solver=svm"), marks=pytest.mark.slow),
        pytest.param(("head=mpn_cov", "trainer.precision=mixed_bfloat16"), marks=pytest.mark.slow),
    ],
    ids=lambda overrides: "-".join(overrides),
)
def test_probes_train(train, preset, head):
    epochs = () if "solver=svm" in head else ("trainer.epochs=2",)
    outcome, folder = train(*preset.overrides, *head, *epochs)
    assert outcome.status == 0, outcome.errors
    assert np.isfinite(metrics(folder)["test"]["loss"])
