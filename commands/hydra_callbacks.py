"""Callbacks that Hydra runs around a sweep; `conf/config.yaml` names them."""

import shlex
import sys
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback


class SweepSummary(Callback):
    """Prints a sweep's table at its end, and writes `summary.csv`, `.md` and `.png` to its folder.

    The process exits with an error if a job failed.
    """

    def on_multirun_end(self, config, **kwargs) -> None:
        from reporting import finished_runs, sweep_summary  # slow to import

        folder = Path(config.hydra.sweep.dir)
        runs, failures = finished_runs.read_runs([folder]), finished_runs.read_failures([folder])
        if runs:
            rows = sweep_summary.summarize(runs)
            sweep_summary.write(folder, rows)
            print(f"\n{sweep_summary.as_table(rows)}\n\nfolder     {folder}")
            print(f"curves     tensorboard --logdir {shlex.quote(str(folder))}", flush=True)
        print_failures(failures)
        if failures:  # Hydra turns exceptions of a callback into warnings, but not SystemExit
            sys.exit(f"{len(failures)} of {len(failures) + len(runs)} jobs failed")


class FixedKeys(Callback):
    """Prints at a search's start which keys of its search space the command line fixes.

    The sweeper leaves these keys out without a message.
    """

    def on_multirun_start(self, config, **kwargs) -> None:
        space = config.hydra.sweeper.get("params") or {}
        overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        fixed = [o for o in overrides if o.key_or_group in space and not o.is_sweep_override()]
        if fixed:
            lines = ", ".join(str(override.input_line) for override in fixed)
            print(f"{lines}: fixed by the command line, not searched", flush=True)


def print_failures(failures: list[tuple[Path, str]]) -> None:
    """Prints the runs and messages of `reporting.finished_runs.read_failures`."""
    for run, reason in failures:
        print(f"failed: {run}: {reason}", flush=True)
