"""The table of stage 2: its epochs, the norms of their gradients, and the epoch of the test."""

import csv
import io
import json

import pytest
from made_runs import finished_run
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from benchmarks import stage_2_runs
from event_file import EventFile


def made_run(folder, chosen: int, tuned: int, val: dict | None) -> None:
    """Writes a run of three epochs of stage 1 and `tuned` of stage 2, which chose an epoch."""
    finished_run(folder, test=0.75, seed=4, backbone__tap="block_13")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["stages"] = {"head": {"chosen_epoch": 2, "val": val}}
    lines = [{"stage": "head", "epoch": epoch, "loss": 0.1, "accuracy": 1} for epoch in (1, 2, 3)]
    if tuned:
        metrics["stages"]["fine_tune"] = {"chosen_epoch": chosen}
        file = EventFile(folder / "dynamics")
        for number in range(tuned):
            logs = {"loss": 2.0 - number, "accuracy": 0.5, "learning_rate": 1e-4}
            lines.append({"stage": "fine_tune", "epoch": 4 + number, **logs})
            file.write([scalar_pb("gradient norm/backbone", 10.0 + number)], 3 + number)
        file.close()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def table_of(monkeypatch, capsys):
    """The printed table of a folder, a dictionary for each line."""

    def table(folder) -> list[dict[str, str]]:
        monkeypatch.setattr("sys.argv", ["stage_2_runs.py", str(folder)])
        stage_2_runs.main()
        return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    return table


def test_each_epoch_has_its_curves_and_the_norm_of_its_gradient(table_of, tmp_path):
    made_run(tmp_path / "run", chosen=5, tuned=3, val={"accuracy": 0.5, "loss": 1.5})
    lines = table_of(tmp_path)
    assert {(line["seed"], line["backbone.tap"], line["head.name"]) for line in lines} == {
        ("4", "block_13", "bilinear")
    }
    assert [line["epoch"] for line in lines] == ["0", "1", "2", "3"]
    assert [line["loss"] for line in lines] == ["", "2.0", "1.0", "0.0"]
    assert [line["gradient_norm"] for line in lines] == ["", "10.0", "11.0", "12.0"]
    assert [line["val_accuracy"] for line in lines] == ["0.5", "", "", ""]


@pytest.mark.parametrize("chosen, expected", [(2, 0), (4, 1), (6, 3)])
def test_the_test_accuracy_is_that_of_the_chosen_epoch(table_of, tmp_path, chosen, expected):
    made_run(tmp_path / "run", chosen, tuned=3, val={"accuracy": 0.5, "loss": 1.5})
    tests = [line["test_accuracy"] for line in table_of(tmp_path)]
    assert tests == ["0.75" if epoch == expected else "" for epoch in range(4)]


def test_a_frozen_run_without_validation_is_one_line(table_of, tmp_path):
    made_run(tmp_path / "run", chosen=0, tuned=0, val=None)
    [line] = table_of(tmp_path)
    assert (line["epoch"], line["val_accuracy"], line["test_accuracy"]) == ("0", "", "0.75")
