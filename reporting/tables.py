"""Tables for the terminal."""

import shlex
from pathlib import Path

from conf.schema import Task
from evaluation.bootstrap import Interval
from evaluation.comparison import Comparison

# Short names of metrics and scorers; others are shown under their own names.
METRIC_LABELS = {f"recall_at_{k}": f"R@{k}" for k in (1, 2, 4, 8)}
METRIC_LABELS |= {"top5_accuracy": "top-5", "calibration_error": "ECE"}
METRIC_LABELS |= {"macro_accuracy": "macro", "macro_f1": "F1", "mistake_distance": "distance"}
METRIC_LABELS |= {"map_at_r": "MAP@R", "nmi": "NMI"}
METRIC_LABELS |= {"k_nn": "k-NN", "one_class_svm": "SVM"}
METRIC_LABELS |= {"isolation_forest": "forest", "gaussian_mixture": "GMM"}


def table(header: list[str], rows: list[list[str]]) -> str:
    """Formats aligned columns. The first is aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]).rstrip()
        for first, *others in [header, *rows]
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Formats a table in Markdown."""
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def metrics_table(metrics_by_name: dict[str, dict | None]) -> str:
    """Formats the metrics of several splits or stages of one task. `None` becomes dashes."""
    names = next(list(metrics) for metrics in metrics_by_name.values() if metrics is not None)
    header = ["", *(METRIC_LABELS.get(name, name.replace("_", " ")) for name in names)]
    rows = []
    for name, metrics in metrics_by_name.items():
        values = [metrics[key] for key in names] if metrics else ["-"] * len(names)
        rows.append([name, *(str(v) if isinstance(v, int | str) else f"{v:.4f}" for v in values)])
    return table(header, rows)


def evaluation_table(split: str, metrics: dict[str, float], intervals: dict[str, Interval]) -> str:
    """Formats one metric a line, with its interval; a metric without one has a dash."""
    rows = []
    for name, value in metrics.items():
        low, high = intervals.get(name, (None, None))
        interval = "-" if low is None else f"{low:.4f} to {high:.4f}"
        shown = str(value) if isinstance(value, int) else f"{value:.4f}"
        rows.append([name.replace("_", " "), shown, interval])
    return table([split, "", "95% interval"], rows)


def comparison_table(folders: tuple[Path, Path], comparison: Comparison) -> str:
    """Formats the accuracies of two runs, their difference, and McNemar's test.

    Args:
        folders: the folders of the runs.
        comparison: of the first run, A, with the second one, B.
    """
    c = comparison
    low, high = c.interval
    rows = [
        ["accuracy of A", f"{c.accuracy_a:.4f}", ""],
        ["accuracy of B", f"{c.accuracy_b:.4f}", ""],
        ["A - B", f"{c.difference:+.4f}", f"{low:+.4f} to {high:+.4f}"],
        ["images that both predict right", str(c.both), ""],
        ["only A", str(c.only_a), ""],
        ["only B", str(c.only_b), ""],
        ["neither", str(c.neither), ""],
        ["McNemar's exact test, p", f"{c.p_value:.3g}", ""],
    ]
    runs = "\n".join(f"{letter}  {name}" for letter, name in zip("AB", folders, strict=True))
    return f"{runs}\n\n{table(['test', '', '95% interval'], rows)}"


def final_table(task: Task, record: dict, folder: Path) -> str:
    """Formats a run's results, with its folder and the command that shows its curves.

    Args:
        task: the run's task.
        record: the content of `metrics.json`.
        folder: the run's folder.
    """
    if task is Task.post_mortem:
        return f"\n{post_mortem_table(record)}\n\nfolder     {folder}"
    text = one_class_table(record) if task is Task.one_class else stages_table(record)
    logs = shlex.quote(str(folder))
    return f"\n{text}\nfolder     {folder}\ncurves     tensorboard --logdir {logs}"


def stages_table(record: dict) -> str:
    """Formats the metrics of each stage and of the test split, and the epoch that was chosen."""
    metrics = {
        f"val, stage {number} ({name.replace('_', ' ')})": stage["val"]
        for number, (name, stage) in enumerate(record["stages"].items(), 1)
    }
    if "untrained" in record:
        metrics["test, untrained descriptors"] = record["untrained"]
    metrics["test"] = record["test"]
    last = list(record["stages"].values())[-1]
    chosen = f"epoch      {last['chosen_epoch']}, chosen by {last['chosen_by']}"
    lines = [metrics_table(metrics), "", chosen]
    if "calibration" in record:
        lines.append(f"calibrated {calibration_line(record)}")
    return "\n".join(lines)


def calibration_line(record: dict) -> str:
    """Describes a run's field "calibration": temperature, and metrics before and after it."""
    calibration = record["calibration"]
    before, after = (calibration["test"][time] for time in ("before", "after"))
    low, high = calibration["test"]["chance_range"]
    chance = f"({low:.3f} to {high:.3f} by chance)"
    if calibration["val"] is None:
        error = after["calibration_error"]
        return f"no: no validation images; test calibration error {error:.3f} {chance}"
    changes = ", ".join(
        f"{name.replace('_', ' ')} {before[name]:.3f} -> {after[name]:.3f}" for name in after
    )
    fitted = f"temperature {calibration['temperature']:.3g} fitted on {record['data']['val']}"
    return f"{fitted} validation images: test {changes} {chance}"


def one_class_table(record: dict) -> str:
    """Formats the AUROC of each target for frozen and learned features and each scorer."""
    columns = [(kind, name) for kind in ("frozen", "learned") for name in record[kind]]
    targets = dict(record["classes"])
    if len(targets) > 1:
        targets |= {"mean": record, "std": record["std"]}
    rows = [
        [name, *(f"{auroc[kind][scorer]:.3f}" for kind, scorer in columns)]
        for name, auroc in targets.items()
    ]
    header = ["AUROC", *(f"{kind} {METRIC_LABELS[name]}" for kind, name in columns)]
    return f"{table(header, rows)}\n"


def post_mortem_table(record: dict) -> str:
    """Formats the accuracy of each variant of the head, and the seconds of a training step."""
    rows = []
    for name, variant in record["variants"].items():
        metrics = [variant["val"], variant["test"]]
        accuracies = ["-" if split is None else f"{split['accuracy']:.4f}" for split in metrics]
        rows.append([name, *accuracies, f"{variant['step_seconds']:.3f}"])
    return table(["head", "val accuracy", "test accuracy", "s/step"], rows)
