"""TensorBoard's HParams shows one row for each run, read here through TensorBoard's backend."""

import json

import pytest
import tensorflow as tf
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from werkzeug.test import Client

from reporting.hparams import flat, log_hparams

RESULTS = {"val": {"accuracy": 0.5}, "test": {"accuracy": 0.25, "pictures": 4}}


def answer_of(folder, page: str, request: dict) -> dict:
    """Returns the HParams backend's answer to a request of its page."""
    runs = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    context = TBContext(data_provider=data_provider.MultiplexerDataProvider(runs, str(folder)))
    client = Client(application.TensorBoardWSGI([HParamsPlugin(context)]))
    answer = client.post(f"/data/plugin/hparams/{page}", json=request)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text)


def rows_in(folder) -> list[dict]:
    """Returns the table's rows, sorted by test accuracy, best first."""
    accuracy = {"metric": {"tag": "Test/accuracy"}}
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    request = {
        "experimentName": "",
        "allowedStatuses": statuses,
        "startIndex": 0,
        "sliceSize": 100,
        "colParams": [accuracy | {"order": "ORDER_DESC"}],
    }
    return [
        {
            "hparams": group["hparams"],
            "metrics": {m["name"]["tag"]: m["value"] for m in group.get("metricValues", [])},
            "sessions": len(group["sessions"]),
            "status": group["sessions"][0]["status"],
        }
        for group in answer_of(folder, "session_groups", request).get("sessionGroups", [])
    ]


def test_every_key_is_a_plain_value(make_config):
    values = flat(make_config("head=average", "seed=3", "optimizer.schedule=step"))
    assert values["seed"] == 3 and values["head.name"] == "average" and values["head.l2"] is True
    assert values["optimizer.schedule"] == "step" and values["trainer.batch_size"] == 32
    assert values["head.root"] == "null" and "force" not in values
    assert all(isinstance(value, (bool, int, float, str)) for value in values.values())


def test_a_row_holds_configuration_and_final_metrics(make_config, tmp_path):
    log_hparams(tmp_path / "run", make_config("head=mpn_cov"), RESULTS)
    (row,) = rows_in(tmp_path)
    assert row["hparams"]["head.name"] == "mpn_cov" and row["status"] == "STATUS_SUCCESS"
    assert row["metrics"] == {"Val/accuracy": 0.5, "Test/accuracy": 0.25}


def test_the_configuration_is_shown_as_text(make_config, tmp_path):
    log_hparams(tmp_path, make_config("head=mpn_cov"), RESULTS)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = events.Tensors("config")
    assert "    name: mpn_cov\n" in tf.make_ndarray(event.tensor_proto).item().decode()


def test_without_validation_a_row_has_only_test_metrics(make_config, tmp_path):
    log_hparams(tmp_path, make_config(), RESULTS | {"val": None})
    (row,) = rows_in(tmp_path)
    assert set(row["metrics"]) == {"Test/accuracy"}


def test_a_run_that_is_logged_twice_is_one_row_with_the_last_metrics(make_config, tmp_path):
    for accuracy in (0.5, 0.75):
        log_hparams(tmp_path, make_config(), RESULTS | {"test": {"accuracy": accuracy}})
    (row,) = rows_in(tmp_path)
    assert (row["sessions"], row["metrics"]["Test/accuracy"]) == (1, 0.75)


@pytest.mark.slow
def test_a_sweep_has_a_row_for_each_run_with_its_curves(train):
    _, folder = train("-m", "head=average,bilinear", "trainer.epochs=1")
    rows = rows_in(folder)
    assert {row["hparams"]["head.name"] for row in rows} == {"average", "bilinear"}
    accuracies = [row["metrics"]["Test/accuracy"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    written = [
        json.loads(path.read_text())["test"]["accuracy"] for path in folder.glob("*/metrics.json")
    ]
    assert sorted(accuracies) == pytest.approx(sorted(written))
    assert "epoch_accuracy" in rows[0]["metrics"]
    shown = answer_of(folder, "experiment", {"experimentName": "", "includeMetrics": True})
    assert {"Test/accuracy", "Val/accuracy"} < {
        metric["name"]["tag"]
        for metric in shown["metricInfos"][:5]  # the columns shown by default
    }
    assert "head.name" in {key["name"] for key in shown["hparamInfos"] if key["differs"]}


def test_every_metric_is_logged_and_accuracies_are_among_the_first_five(make_config, tmp_path):
    names = (
        *("accuracy", "macro_accuracy", "macro_f1", "top5_accuracy", "loss", "calibration_error"),
        *("top3_accuracy", "top10_accuracy", "family_accuracy", "mistake_distance"),
    )
    metrics = dict.fromkeys(names, 0.5)
    log_hparams(tmp_path / "run", make_config(), {"val": metrics, "test": metrics})
    shown = answer_of(tmp_path, "experiment", {"experimentName": "", "includeMetrics": True})
    tags = [metric["name"]["tag"] for metric in shown["metricInfos"]]
    assert {"Test/accuracy", "Val/accuracy"} < set(tags[:5])
    assert len(tags) == 2 * len(names) and "test/macro_f1" in tags


def test_runs_differ_in_a_key_that_is_null_in_one_of_them(make_config, tmp_path):
    for root in ("null", "exact"):
        config = make_config("head=bilinear", f"head.root={root}")
        log_hparams(tmp_path / root, config, RESULTS)
    keys = answer_of(tmp_path, "experiment", {"experimentName": ""})["hparamInfos"]
    assert [key["name"] for key in keys if key["differs"]] == ["head.root"]


@pytest.mark.slow
@pytest.mark.parametrize("logged", [True, False])
def test_a_resumed_run_and_a_repeated_run_are_one_row(train, train_once, logged):
    _, folder = train_once()
    (folder / "metrics.json").unlink()  # as if it was killed just before it was finished
    if not logged:
        for path in (folder / "tensorboard").glob("events*"):
            path.unlink()
    train()
    assert [row["sessions"] for row in rows_in(folder)] == [1]
    train("force=true")
    assert [row["sessions"] for row in rows_in(folder)] == [1]
