"""A table of runs: mean, deviation and 95% interval over seeds, and the difference to a baseline.

The star marks the best mean validation metric of each task. The difference is that of the test
metrics of the same seeds.
"""

import math
import re
from pathlib import Path

import numpy as np

import files
from conf.schema import PRIMARY_METRIC, Task
from errors import UserError
from reporting.bar_chart import draw_bars
from reporting.finished_runs import FinishedRun, what_varied
from reporting.image_summary import write_png
from reporting.rendering import drawn, render
from reporting.seed_statistics import Estimate, estimate, paired_difference
from reporting.tables import markdown, table

REPEAT = "write the summary again with summarize.py and --output"


def summarize(runs: list[FinishedRun], baseline: dict[str, str] | None = None) -> list[dict]:
    """Groups runs that differ only in `seed`, in the order in which they appear.

    Args:
        runs: at least one run.
        baseline: settings that only one group has, such as `{"head": "average"}`. Default: the
            settings of the first group.

    Returns:
        A dictionary for each group: "settings" (keys that differ between groups), "metric" (name of
        the task's primary metric), "seeds" (test metric by seed), "n" (number of seeds), "best"
        (whether it has the star), "baseline" (whether it is the baseline), "step_seconds" (the
        least that a run measured, or `None`), "levels" (an `estimate` of the test accuracy at each
        coarser level of the classes, by its name), and an `estimate` for "val", "test" and
        "difference" (`None` for the baseline and for groups with another metric).

    Raises:
        UserError: no group or several groups have the baseline's settings.
    """
    settings = what_varied(runs)
    groups: dict[tuple[str, ...], list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(tuple(run.config.get(key, "") for key in settings), []).append(run)
    names = [key.removesuffix(".name") for key in settings]
    rows = [
        {"settings": dict(zip(names, values, strict=True)), **_statistics(members)}
        for values, members in groups.items()
    ]
    reference = rows[0] if baseline is None else _find(rows, baseline)
    for row in rows:
        peers = [peer for peer in rows if peer["metric"] == row["metric"]]
        means = [peer["val"]["mean"] for peer in peers if _is_finite(peer["val"]["mean"])]
        row["best"] = row["val"]["mean"] == max(means, default=math.nan)
        row["baseline"] = row is reference
        row["difference"] = None
        if row["metric"] == reference["metric"] and row is not reference:
            row["difference"] = paired_difference(row["seeds"], reference["seeds"])
    return rows


def _statistics(runs: list[FinishedRun]) -> dict:
    """The part of a row that does not depend on other rows."""
    metric = PRIMARY_METRIC[Task(runs[0].config["task"])]
    seeds = {run.seed: run.metrics["test"][metric] for run in runs}
    tests = [run.metrics["test"] for run in runs]
    timed = [run.metrics["step_seconds"] for run in runs if "step_seconds" in run.metrics]
    return {
        "metric": metric,
        "n": len(seeds),
        "seeds": seeds,
        "val": estimate([run.metrics["val"][metric] for run in runs if run.metrics["val"]]),
        "test": estimate(list(seeds.values())),
        "levels": {
            name: estimate([test[name] for test in tests if name in test])
            for name in tests[0]
            if _is_coarser(name)
        },
        "step_seconds": min(timed, default=None),
    }


def _is_coarser(metric: str) -> bool:
    """Whether a metric is the accuracy at a coarser level, such as "coarse_accuracy"."""
    return re.fullmatch(r"(?!(macro|top\d+)_accuracy).+_accuracy", metric) is not None


def _is_finite(mean: float | None) -> bool:
    return mean is not None and math.isfinite(mean)


def _find(rows: list[dict], settings: dict[str, str]) -> dict:
    matches = [row for row in rows if settings.items() <= row["settings"].items()]
    if len(matches) != 1:
        names = "; ".join(_name(row) for row in rows)
        wanted = ",".join(f"{key}={value}" for key, value in settings.items())
        raise UserError(f"--baseline {wanted}: {len(matches)} rows have that, of: {names}")
    return matches[0]


def cells(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Returns header and lines of the table."""
    metrics = {row["metric"].replace("_", " ") for row in rows}
    metric = metrics.pop() if len(metrics) == 1 else "metric"
    baseline = next(_name(row) for row in rows if row["baseline"])
    timed = any(row["step_seconds"] is not None for row in rows)
    levels = _levels(rows)
    compared = any(row["difference"] for row in rows)
    lines = []
    for row in rows:
        line = {key: _short(value) for key, value in row["settings"].items()} or {"run": "default"}
        line[next(iter(line))] += " *" if row["best"] else ""
        line |= {"n": str(row["n"]), f"val {metric}": _mean_std(row["val"])}
        line |= {f"test {metric}": _mean_std(row["test"]), "95%": _interval(row["test"], ".4f")}
        for name in levels:
            values = row["levels"].get(name)
            line[f"test {name.replace('_', ' ')}"] = _mean_std(values) if values else "-"
        if timed:
            line["s/step"] = "-" if row["step_seconds"] is None else f"{row['step_seconds']:.3f}"
        if compared:
            line[f"test - {baseline}, 95%"] = _difference(row["difference"])
        lines.append(line)
    return list(lines[0]), [list(line.values()) for line in lines]


def _levels(rows: list[dict]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["levels"]))


def as_table(rows: list[dict]) -> str:
    """Returns the table for a terminal."""
    return table(*cells(rows))


def as_markdown(rows: list[dict]) -> str:
    """Returns the table for a Markdown file."""
    return f"{markdown(*cells(rows))}\n"


def write(folder: Path, rows: list[dict]) -> None:
    """Writes `summary.csv` with every number, `summary.md` with the table, and `summary.png`.

    Raises:
        UserError: see `files.explain_write_errors`.
    """
    flat, levels = [], _levels(rows)
    for row in rows:
        flat.append(row["settings"] | {"figure": row["metric"]})
        flat[-1] |= {name: row[name] for name in ("n", "best", "baseline", "step_seconds")}
        for name in ("val", "test", "difference"):
            values = row[name] or estimate([])
            flat[-1] |= {f"{name}_{statistic}": value for statistic, value in values.items()}
        for name in levels:
            values = row["levels"].get(name) or estimate([])
            flat[-1] |= {f"test_{name}_{key}": values[key] for key in ("mean", "std")}
    lines = [list(line.values()) for line in flat]
    files.write_csv(folder / "summary.csv", list(flat[0]), lines, REPEAT)
    files.write_text(folder / "summary.md", as_markdown(rows), REPEAT)
    image = drawn("summary.png", lambda: _bars(rows))
    if image is not None:
        write_png(folder / "summary.png", image, REPEAT)


def _bars(rows: list[dict]) -> np.ndarray:
    metrics = " or ".join(dict.fromkeys(row["metric"].replace("_", " ") for row in rows))
    deviations = [row["test"]["std"] or 0 for row in rows]
    names, means = [_name(row) for row in rows], [row["test"]["mean"] for row in rows]
    figure, axes = draw_bars(names, means, "%.3f", deviations if any(deviations) else None)
    axes.set_xlabel(f"test {metrics} (mean, standard deviation)")
    return render(figure)


def _name(row: dict) -> str:
    return ", ".join(map(_short, row["settings"].values())) or "default"


def _short(text: str) -> str:
    """Rounds a number with many digits, such as a search draws, to four digits."""
    try:
        return text if len(text) < 8 else f"{float(text):.4g}"
    except ValueError:
        return text


def _mean_std(values: Estimate) -> str:
    if values["mean"] is None:
        return "-"
    return f"{values['mean']:.4f}" + ("" if values["std"] is None else f" ± {values['std']:.4f}")


def _interval(values: Estimate, style: str) -> str:
    return "-" if values["low"] is None else f"[{values['low']:{style}}, {values['high']:{style}}]"


def _difference(values: Estimate | None) -> str:
    if values is None or values["mean"] is None:
        return "-"
    return f"{values['mean']:+.4f} {_interval(values, '+.4f')}"
