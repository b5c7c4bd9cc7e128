"""Collects stage 2 of finished runs in a table: curves, norms of gradients, test accuracy.

    python benchmarks/stage_2_runs.py FOLDER... > runs.csv

Each epoch of stage 2 of each classification in or below the folders is a line. Epoch 0 is the end
of stage 1, also of a run without stage 2. "gradient_norm" is the norm of the gradient of the
backbone's weights in the last step of the epoch, before clipping. "test_accuracy" is in the line of
the epoch with which the run ended.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from reporting.finished_runs import FinishedRun, read_runs

KEYS = (
    *("data.name", "backbone.tap", "head.name", "head.root", "solver", "augment.name"),
    *("optimizer.fine_tune_name", "optimizer.fine_tune_learning_rate", "trainer.fine_tune_epochs"),
)
CURVES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
COLUMNS = [*KEYS, "seed", "epoch", *CURVES, "gradient_norm", "test_accuracy"]


def gradient_norms(folder: Path) -> dict[int, float]:
    """Returns the norm of the gradient of the backbone's weights by epoch."""
    events = EventAccumulator(str(folder / "dynamics"), {"tensors": 0}).Reload()
    tag = "gradient norm/backbone"
    if tag not in events.Tags()["tensors"]:
        return {}
    return {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


def lines(run: FinishedRun) -> list[dict]:
    """Returns a line for the end of stage 1, and one for each epoch of stage 2."""
    stages = run.metrics["stages"]
    text = (run.folder / "metrics.jsonl").read_text(encoding="utf-8")
    logged = [json.loads(line) for line in text.splitlines()]
    tuned = [logs for logs in logged if logs["stage"] == "fine_tune"]
    norms = gradient_norms(run.folder) if tuned else {}
    validation = stages["head"]["val"] or {}  # without a validation split
    table = [{"epoch": 0} | {f"val_{key}": validation.get(key) for key in ("accuracy", "loss")}]
    ended = 0
    for epoch, logs in enumerate(tuned, 1):
        curves = {key: logs.get(key) for key in CURVES}
        table.append({"epoch": epoch, **curves, "gradient_norm": norms.get(logs["epoch"] - 1)})
        if stages["fine_tune"]["chosen_epoch"] == logs["epoch"]:
            ended = epoch
    table[ended]["test_accuracy"] = run.metrics["test"]["accuracy"]
    settings = {key: run.config[key] for key in KEYS} | {"seed": run.seed}
    return [{**settings, **line} for line in table]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="runs or sweeps")
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run in read_runs(parser.parse_args().folders):
        if run.config["task"] == "classification":
            writer.writerows(lines(run))


if __name__ == "__main__":
    main()
