"""TensorBoard's HParams shows a row a run, read here as TensorBoard itself reads it."""

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


def answer_of(folder, page: str, asked: dict) -> dict:
    """HParams' answer to a request that its page makes."""
    runs = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    context = TBContext(data_provider=data_provider.MultiplexerDataProvider(runs, str(folder)))
    client = Client(application.TensorBoardWSGI([HParamsPlugin(context)]))
    answer = client.post(f"/data/plugin/hparams/{page}", json=asked)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text)


def rows_in(folder) -> list[dict]:
    """The table's rows, sorted by test accuracy, best first."""
    accuracy = {"metric": {"tag": "Test/accuracy"}}
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    asked = {
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
        for group in answer_of(folder, "session_groups", asked).get("sessionGroups", [])
    ]


def test_every_key_is_a_plain_value(make_config):
    found = flat(make_config("head=average", "seed=3", "optimizer.schedule=step"))
    assert found["seed"] == 3 and found["head.name"] == "average" and found["head.l2"] is True
    assert found["optimizer.schedule"] == "step" and found["trainer.batch_size"] == 32
    assert found["head.root"] == "null" and "force" not in found
    assert all(isinstance(value, (bool, int, float, str)) for value in found.values())


def test_a_row_holds_configuration_and_final_metrics(make_config, tmp_path):
    log_hparams(tmp_path / "run", make_config("head=mpn_cov"), RESULTS)
    (row,) = rows_in(tmp_path)
    assert row["hparams"]["head.name"] == "mpn_cov" and row["status"] == "STATUS_SUCCESS"
    assert row["metrics"] == {"Val/accuracy": 0.5, "Test/accuracy": 0.25}


def test_the_configuration_is_there_to_read(make_config, tmp_path):
    log_hparams(tmp_path, make_config("head=mpn_cov"), RESULTS)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = events.Tensors("config")
    assert "    name: mpn_cov\n" in tf.make_ndarray(event.tensor_proto).item().decode()


def test_without_validation_there_is_the_test_split(make_config, tmp_path):
    log_hparams(tmp_path, make_config(), RESULTS | {"val": None})
    (row,) = rows_in(tmp_path)
    assert set(row["metrics"]) == {"Test/accuracy"}


def test_written_again_it_is_still_one_row(make_config, tmp_path):
    for accuracy in (0.5, 0.75):
        log_hparams(tmp_path, make_config(), RESULTS | {"test": {"accuracy": accuracy}})
    (row,) = rows_in(tmp_path)
    assert (row["sessions"], row["metrics"]["Test/accuracy"]) == (1, 0.75)


def test_a_sweep_is_a_row_a_run_sorted_by_test_accuracy_with_the_curves(train):
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
        for metric in shown["metricInfos"][:5]  # the columns shown unasked
    }
    assert "head.name" in {key["name"] for key in shown["hparamInfos"] if key["differs"]}


def test_runs_differ_in_a_key_that_one_of_them_leaves_null(make_config, tmp_path):
    for root in ("null", "exact"):
        config = make_config("head=bilinear", f"head.root={root}")
        log_hparams(tmp_path / root, config, RESULTS)
    keys = answer_of(tmp_path, "experiment", {"experimentName": ""})["hparamInfos"]
    assert [key["name"] for key in keys if key["differs"]] == ["head.root"]


def test_a_run_that_was_stopped_before_its_row_was_written_gets_it(train, train_once):
    _, folder = train_once()
    (written,) = (folder / "tensorboard").glob("*.hparams")
    written.unlink()
    assert "is finished" in train()[0].output
    assert [row["sessions"] for row in rows_in(folder)] == [1]


def test_a_run_that_went_on_and_one_that_was_repeated_are_one_row(train, train_once):
    _, folder = train_once()
    (folder / "metrics.json").unlink()
    train()
    assert [row["sessions"] for row in rows_in(folder)] == [1]
    train("force=true")
    assert [row["sessions"] for row in rows_in(folder)] == [1]
