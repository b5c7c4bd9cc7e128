"""A sweep as a table: mean, deviation and 95% interval over seeds, and the gain over a baseline.

`python train.py -m ...` ends with it, its first configuration the baseline. For any runs:

    python -m reporting.sweep_summary FOLDER...
    python -m reporting.sweep_summary FOLDER... --baseline head=average --output FOLDER

The star is at the best mean *validation* figure of each task. The difference is that of the test
figures of the same seeds.
"""

import argparse
import csv
import math
import sys
from pathlib import Path

from hydra.experimental.callback import Callback

from commands.running import run_command
from errors import UserError
from reporting.finished_runs import FinishedRun, read_failures, read_runs, what_varied
from reporting.seed_statistics import estimate, paired_difference
from reporting.tables import primary_metric, table

ESTIMATES = ("val", "test", "difference")


class SweepSummary(Callback):
    """Prints the table at a sweep's end, and writes `summary.csv`, `.md` and `.png` beside it."""

    def on_multirun_end(self, config, **kwargs) -> None:
        folder = Path(config.hydra.sweep.dir)
        runs, failed = read_runs([folder]), read_failures([folder])
        if runs:
            rows = summarize(runs)
            write(folder, rows)
            print(
                f"\n{as_table(rows)}\n\nfolder     {folder}\n"
                f"curves     tensorboard --logdir {folder}",
                flush=True,
            )
        print_failures(failed)
        if failed:  # Hydra would turn any other exception of a callback into a warning
            sys.exit(f"{len(failed)} of {len(failed) + len(runs)} jobs failed")


def summarize(runs: list[FinishedRun], baseline: dict[str, str] | None = None) -> list[dict]:
    """Groups runs that differ in `seed` alone, in the order in which they are first met.

    Args:
        runs: at least one.
        baseline: settings that one group alone has, `{"head": "average"}`. Default: the first
            group's.

    Returns:
        A row a group: "settings" (what differs between groups), "figure" (its task's headline),
        "n", "best" (the star), "baseline" (whether it is), and an `estimate` as "val", "test" and
        "difference" (test, to the baseline; `None` where that has another figure). "step_seconds"
        is the least that a run measured, `None` where none did.

    Raises:
        UserError: none or several groups have the baseline's settings.
    """
    settings = what_varied(runs)
    groups: dict[tuple, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(tuple(run.config.get(key, "") for key in settings), []).append(run)
    rows = []
    for values, members in groups.items():
        figure = primary_metric(members[0].metrics["test"])
        seeds = {run.seed: run.metrics["test"][figure] for run in members}
        validated = [run.metrics["val"][figure] for run in members if run.metrics["val"]]
        timed = [run.metrics["step_seconds"] for run in members if "step_seconds" in run.metrics]
        rows.append(
            {
                "settings": {
                    key.removesuffix(".name"): value
                    for key, value in zip(settings, values, strict=True)
                },
                "figure": figure,
                "n": len(seeds),
                "seeds": seeds,
                "val": estimate(validated),
                "test": estimate(list(seeds.values())),
                "step_seconds": min(timed, default=None),
            }
        )
    return _marked(rows, _find(rows, baseline))


def _marked(rows: list[dict], baseline: dict) -> list[dict]:
    best = {}
    for row in rows:
        if row["val"]["mean"] is not None:
            best[row["figure"]] = max(best.get(row["figure"], -math.inf), row["val"]["mean"])
    for row in rows:
        row["best"] = row["val"]["mean"] is not None and row["val"]["mean"] == best[row["figure"]]
        row["baseline"] = row is baseline
        comparable = row["figure"] == baseline["figure"] and not row["baseline"]
        row["difference"] = (
            paired_difference(row["seeds"], baseline["seeds"]) if comparable else None
        )
    return rows


def _find(rows: list[dict], baseline: dict[str, str] | None) -> dict:
    if baseline is None:
        return rows[0]
    found = [row for row in rows if baseline.items() <= row["settings"].items()]
    if len(found) != 1:
        named = "; ".join(_name(row) for row in rows)
        asked = ",".join(f"{key}={value}" for key, value in baseline.items())
        raise UserError(f"--baseline {asked}: {len(found)} rows have that, of: {named}")
    return found[0]


def cells(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the table, for a terminal or Markdown."""
    metric_names = list(dict.fromkeys(row["figure"].replace("_", " ") for row in rows))
    figure = metric_names[0] if len(metric_names) == 1 else "figure"
    header = [*(rows[0]["settings"] or ["run"]), "n", f"val {figure}", f"test {figure}", "95%"]
    timed = any(row["step_seconds"] is not None for row in rows)
    if timed:
        header.append("s/step")
    compared = any(row["difference"] for row in rows)
    if compared:
        baseline = next(row for row in rows if row["baseline"])
        header.append(f"test - {_name(baseline)}, 95%")
    lines = []
    for row in rows:
        line = [*(map(_short, row["settings"].values()) if row["settings"] else ["default"])]
        line.append(str(row["n"]))
        line[0] += " *" if row["best"] else ""
        line += [_broadcast(row["val"]), _broadcast(row["test"]), _interval(row["test"], ".4f")]
        if timed:
            line.append("-" if row["step_seconds"] is None else f"{row['step_seconds']:.3f}")
        if compared:
            line.append(_difference(row["difference"]))
        lines.append(line)
    return header, lines


def as_table(rows: list[dict]) -> str:
    return table(*cells(rows))


def as_markdown(rows: list[dict]) -> str:
    header, lines = cells(rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ["---"] * len(header), *lines])


def write(folder: Path, rows: list[dict]) -> None:
    """Writes `summary.csv` with every number, `summary.md` with the table, and `summary.png`."""
    flat = [
        row["settings"]
        | {name: row[name] for name in ("figure", "n", "best", "baseline", "step_seconds")}
        | {
            f"{name}_{part}": value
            for name in ESTIMATES
            for part, value in (row[name] or estimate([])).items()
        }
        for row in rows
    ]
    with (folder / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    (folder / "summary.md").write_text(as_markdown(rows))
    plot(folder / "summary.png", rows)


def plot(path: Path, rows: list[dict]) -> None:
    """Draws the test figures as bars, with their standard deviations, as a PNG."""
    from matplotlib.figure import Figure

    names = [_name(row) for row in rows][::-1]
    means = [row["test"]["mean"] for row in rows][::-1]
    deviations = [row["test"]["std"] or 0 for row in rows][::-1]
    errors = deviations if any(deviations) else None
    figure = Figure(figsize=(7, 0.8 + 0.36 * len(rows)), layout="constrained", dpi=110)
    axes = figure.subplots()
    bars = axes.barh(
        range(len(rows)), means, xerr=errors, color="#4c78a8", ecolor="#333333", capsize=3
    )
    axes.set_yticks(range(len(rows)), names)
    axes.bar_label(bars, [f" {mean:.3f}" for mean in means], padding=3)
    metric_names = " or ".join(dict.fromkeys(row["figure"].replace("_", " ") for row in rows))
    axes.set(xlim=(0, 1.08), xlabel=f"test {metric_names} (mean, standard deviation)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def print_failures(failed: list[tuple[Path, str]]) -> None:
    for run, reason in failed:
        print(f"failed: {run}: {reason}", flush=True)


def _name(row: dict) -> str:
    return ", ".join(map(_short, row["settings"].values())) or "default"


def _short(text: str) -> str:
    """A number of many digits, as a search draws them, with four."""
    try:
        return text if len(text) < 8 else f"{float(text):.4g}"
    except ValueError:
        return text


def _broadcast(found: dict) -> str:
    if found["mean"] is None:
        return "-"
    return f"{found['mean']:.4f}" + (f" ± {found['std']:.4f}" if found["std"] is not None else "")


def _interval(found: dict, style: str) -> str:
    return "-" if found["low"] is None else f"[{found['low']:{style}}, {found['high']:{style}}]"


def _difference(found: dict | None) -> str:
    if found is None or found["mean"] is None:
        return "-"
    return f"{found['mean']:+.4f} {_interval(found, '+.4f')}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reporting.sweep_summary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, help="runs, sweeps, or what holds them")
    parser.add_argument(
        "--baseline", metavar="key=value[,...]", help="the row to compare with (default: the first)"
    )
    parser.add_argument("--output", type=Path, help="write summary.csv, .md and .png here too")
    options = parser.parse_args(arguments)
    for folder in options.folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    runs, failed = read_runs(options.folders), read_failures(options.folders)
    if runs:
        rows = summarize(runs, options.baseline and _settings(options.baseline))
        print(as_table(rows))
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
            write(options.output, rows)
    print_failures(failed)
    if not runs:
        named = " ".join(map(str, options.folders))
        raise UserError(f"{named}: no finished run in or below; one holds metrics.json")


def _settings(text: str) -> dict[str, str]:
    """ "head=average,solver=svm" as a dictionary; a group's `.name` may be left out or not."""
    pairs = [pair.partition("=")[::2] for pair in text.split(",")]
    return {key.strip().removesuffix(".name"): value.strip() for key, value in pairs}


if __name__ == "__main__":
    run_command(main)
