"""Tables for the terminal."""

from pathlib import Path

from conf.schema import Task
from evaluation.comparison import Comparison
from reporting.tables import (
    comparison_table,
    evaluation_table,
    final_table,
    metrics_table,
    table,
)

GOOD = {"accuracy": 0.9, "top5_accuracy": 1.0, "loss": 0.25, "pictures": 40}


def test_the_first_column_is_aligned_to_the_left_and_the_others_to_the_right():
    assert table(["head", "runs"], [["average", "3"], ["mpn_cov", "10"]]).splitlines() == [
        "head     runs",
        "-------  ----",
        "average     3",
        "mpn_cov    10",
    ]


def test_missing_metrics_are_dashes():
    lines = metrics_table({"val": None, "test": GOOD}).splitlines()
    assert lines[0].split() == ["accuracy", "top-5", "loss", "pictures"]
    assert lines[2].split() == ["val", "-", "-", "-", "-"]
    assert lines[3].split() == ["test", "0.9000", "1.0000", "0.2500", "40"]


def test_an_evaluation_has_a_line_for_each_metric():
    assert evaluation_table("test", GOOD, {"accuracy": (0.85, 0.95)}).splitlines() == [
        "test                       95% interval",
        "-------------  ------  ----------------",
        "accuracy       0.9000  0.8500 to 0.9500",
        "top5 accuracy  1.0000                 -",
        "loss           0.2500                 -",
        "pictures           40                 -",
    ]


def test_a_comparison_names_both_runs():
    comparison = Comparison(5, 1, 2, 2, 0.6, 0.7, -0.1, (-0.4, 0.2), 1.0)
    lines = comparison_table((Path("runs/one"), Path("runs/two")), comparison).splitlines()
    assert lines[:2] == ["A  runs/one", "B  runs/two"]
    assert [line.split() for line in lines if line.startswith("A - B")] == [
        ["A", "-", "B", "-0.1000", "-0.4000", "to", "+0.2000"]
    ]


def test_the_final_table_shows_each_stage_the_test_split_and_the_command_for_curves():
    stages = {
        "head": {"val": GOOD, "chosen_epoch": 7, "chosen_by": "best val_accuracy"},
        "fine_tune": {"val": GOOD, "chosen_epoch": 12, "chosen_by": "best val_accuracy"},
    }
    record = {"stages": stages, "test": GOOD | {"accuracy": 0.8}}
    text = final_table(Task.classification, record, Path("runs/one"))
    for shown in (
        "val, stage 1 (head)",
        "val, stage 2 (fine tune)",
        "0.8000",
        "epoch      12, chosen by best val_accuracy",
        "tensorboard --logdir runs/one",
    ):
        assert shown in text


def test_the_final_table_says_what_the_calibration_changed():
    stages = {"head": {"val": GOOD, "chosen_epoch": 7, "chosen_by": "best val_accuracy"}}
    test = {
        "before": {"loss": 0.21, "calibration_error": 0.041},
        "after": {"loss": 0.15, "calibration_error": 0.018},
        "chance_range": [0.012, 0.035],
    }
    calibration = {"temperature": 1.3712, "val": {}, "test": test}
    record = {"stages": stages, "test": GOOD, "data": {"val": 252}, "calibration": calibration}
    assert (
        "calibrated temperature 1.37 fitted on 252 validation images: test loss 0.210 -> 0.150, "
        "calibration error 0.041 -> 0.018 (0.012 to 0.035 by chance)"
    ) in final_table(Task.classification, record, Path("runs/one"))
    record["calibration"] = {"temperature": 1.0, "val": None, "test": test}
    assert (
        "calibrated no: no validation images; "
        "test calibration error 0.018 (0.012 to 0.035 by chance)"
    ) in final_table(Task.classification, record, Path("runs/one"))


def test_a_post_mortem_shows_accuracy_and_time_of_each_head():
    record = {"val": None, "test": GOOD, "step_seconds": 1.25}
    variants = {"all faults": record, "no fault": record | {"val": GOOD}}
    text = final_table(Task.post_mortem, {"variants": variants}, Path("runs/one"))
    lines = text.strip().splitlines()
    assert lines[2].split() == ["all", "faults", "-", "0.9000", "1.250"]
    assert lines[3].split() == ["no", "fault", "0.9000", "0.9000", "1.250"]
