"""A sweep as a table: mean and standard deviation over seeds.

`python train.py -m ...` ends with it; for any runs:

    python -m experiments.summarize FOLDER...
"""

import argparse
import csv
import json
import statistics
import sys
from pathlib import Path

import yaml
from hydra.experimental.callback import Callback

from experiments.report import headline, table


class SweepSummary(Callback):
    """Prints the table at a sweep's end, and writes `summary.csv` and `summary.png` beside it."""

    def on_multirun_end(self, config, **kwargs) -> None:
        folder = Path(config.hydra.sweep.dir)
        runs = read_runs([folder])
        if runs:
            groups = summarize(runs)
            write_csv(folder / "summary.csv", groups)
            plot(folder / "summary.png", groups)
            print(f"\n{as_table(groups)}\n\nfolder     {folder}\n"
                  f"curves     tensorboard --logdir {folder}", flush=True)
        failed = failures([folder])
        for run, reason in failed:
            print(f"failed: {run}: {reason}", flush=True)
        if failed:  # Hydra would turn any other exception of a callback into a warning
            sys.exit(f"{len(failed)} of {len(failed) + len(runs)} jobs failed")


def read_runs(folders: list[Path]) -> list[tuple[dict[str, str], dict]]:
    """The finished runs in or below `folders`: each one's overrides, and its metrics.

    Of runs with the same overrides, which a sweep that was begun again may leave, the last counts.
    """
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("metrics.json")):
            if (path.parent / "error.txt").exists():  # asked for something else meanwhile
                continue
            overrides = yaml.safe_load((path.parent / ".hydra" / "overrides.yaml").read_text())
            pairs = dict(override.partition("=")[::2] for override in overrides)
            found[tuple(sorted(pairs.items()))] = pairs, json.loads(path.read_text())
    return list(found.values())


def failures(folders: list[Path]) -> list[tuple[Path, str]]:
    """The runs in or below `folders` that a mistake ended, and its message."""
    return [
        (path.parent, path.read_text().strip().splitlines()[-1])
        for folder in folders
        for path in sorted(folder.rglob("error.txt"))
    ]


def summarize(runs: list[tuple[dict[str, str], dict]]) -> list[dict]:
    """Groups runs that differ in `seed` alone, in the order in which they are first met.

    Returns:
        A row a group: what was overridden, "runs", and for "val" and "test" the mean and the sample
        standard deviation of the headline figure (`None` for a single run, or without a validation
        split).
    """
    keys = list(dict.fromkeys(key for pairs, _ in runs for key in pairs if key != "seed"))
    groups: dict[tuple, list[dict]] = {}
    for pairs, metrics in runs:
        groups.setdefault(tuple(pairs.get(key, "") for key in keys), []).append(metrics)
    rows = []
    for values, members in groups.items():
        row = dict(zip(keys, values, strict=True)) | {"runs": len(members)}
        for split in ("val", "test"):
            figures = [m[split][headline(m[split])] for m in members if m[split]]
            row[f"{split}_mean"] = statistics.fmean(figures) if figures else None
            row[f"{split}_std"] = statistics.stdev(figures) if len(figures) > 1 else None
        rows.append(row)
    return rows


def write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def as_table(rows: list[dict]) -> str:
    """What varied, for a terminal; the best by mean validation accuracy carries a star."""
    settings = _varied(rows)
    best = max((row["val_mean"] for row in rows if row["val_mean"] is not None), default=None)
    lines = []
    for row in rows:
        star = " *" if best is not None and row["val_mean"] == best else ""
        figures = [str(row["runs"]), _spread(row, "val"), _spread(row, "test")]
        lines.append([_name(row, settings) + star, *figures])
    return table([", ".join(settings) or "run", "runs", "val accuracy", "test accuracy"], lines)


def plot(path: Path, rows: list[dict]) -> None:
    """Draws the test accuracies as bars, with their standard deviations, as a PNG."""
    from matplotlib.figure import Figure

    names = [_name(row, _varied(rows)) for row in rows][::-1]
    means = [row["test_mean"] for row in rows][::-1]
    deviations = [row["test_std"] or 0 for row in rows][::-1]
    errors = deviations if any(deviations) else None
    figure = Figure(figsize=(7, 0.8 + 0.36 * len(rows)), layout="constrained", dpi=110)
    axes = figure.subplots()
    bars = axes.barh(names, means, xerr=errors, color="#4c78a8", ecolor="#333333", capsize=3)
    axes.bar_label(bars, [f" {mean:.3f}" for mean in means], padding=3)
    axes.set(xlim=(0, 1.08), xlabel="test accuracy (mean, standard deviation)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _varied(rows: list[dict]) -> list[str]:
    settings = [key for key in rows[0] if key != "runs" and not key.endswith(("_mean", "_std"))]
    return [key for key in settings if len({row[key] for row in rows}) > 1]


def _name(row: dict, settings: list[str]) -> str:
    return ", ".join(row[key] for key in settings if row[key]) or "default"


def _spread(row: dict, split: str) -> str:
    mean, deviation = row[f"{split}_mean"], row[f"{split}_std"]
    if mean is None:
        return "-"
    return f"{mean:.4f}" + (f" ± {deviation:.4f}" if deviation is not None else "")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.summarize", description="A table of finished runs."
    )
    parser.add_argument("folders", nargs="+", type=Path, help="runs, sweeps, or what holds them")
    runs = read_runs(parser.parse_args(arguments).folders)
    print(as_table(summarize(runs)) if runs else "no finished runs here")


if __name__ == "__main__":
    main()
