"""Callbacks that Hydra runs around a sweep; `conf/config.yaml` names them."""

import shlex
import sys
import tempfile
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import read_write

from commands.run_lock import in_progress
from commands.standard_streams import outlive_output
from conf.overrides import parse
from errors import UserError, os_reason


class SweepSummary(Callback):
    """Prints a sweep's table at its end, and writes `summary.csv`, `.md` and `.png` to its folder.

    The process exits with an error if a job failed, if another process still trains one, or if the
    files cannot be written.
    """

    def on_multirun_end(self, config, **kwargs) -> None:
        from reporting import finished_runs, sweep_summary  # slow to import

        folder = Path(config.hydra.sweep.dir)
        runs, failures = finished_runs.read_runs([folder]), finished_runs.read_failures([folder])
        running, errors = in_progress(folder), []
        if runs:
            rows = sweep_summary.summarize(runs)
            print(f"\n{sweep_summary.as_table(rows)}\n\nfolder     {folder}")
            print(f"curves     tensorboard --logdir {shlex.quote(str(folder))}", flush=True)
            try:
                sweep_summary.write(folder, rows)
            except UserError as error:
                errors.append(f"error: {error}")
        print_failures(failures)
        jobs = len(failures) + len(runs) + len(running)
        if running:
            errors.append(f"{len(running)} of {jobs} jobs are still trained by another process")
        if failures:
            errors.append(f"{len(failures)} of {jobs} jobs failed")
        if errors:  # Hydra turns exceptions of a callback into warnings, but not SystemExit
            sys.exit("\n".join(errors))


class OutputFolder(Callback):
    """Checks that the folder of a run or sweep can be written, before Hydra writes to it.

    Hydra writes nothing to the folder of a finished run, which is only reported. A sweep continues
    when its standard output cannot be written, as its runs do.
    """

    def on_run_start(self, config, **kwargs) -> None:
        folder = _folder(config, "run")
        if (folder / "metrics.json").exists() and not config.force:
            with read_write(config.hydra):
                config.hydra.output_subdir = None
        else:
            _check_writable(folder, "hydra.run.dir")

    def on_multirun_start(self, config, **kwargs) -> None:
        outlive_output()  # Hydra prints a line for each job, which may run in other processes
        _check_writable(_folder(config, "sweep"), "hydra.sweep.dir")


def _folder(config, mode: str) -> Path:
    hydra_config = HydraConfig.instance()
    before = hydra_config.cfg
    hydra_config.set_config(config)  # the folder's name may contain the choice of a group
    try:
        return Path(config.hydra[mode].dir)
    finally:
        hydra_config.cfg = before


def _check_writable(folder: Path, key: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"{folder}: cannot be written ({os_reason(error)}); set {key} to another folder"
        raise SystemExit(UserError(message)) from error  # see `SweepSummary`


class FixedKeys(Callback):
    """Prints at a search's start which keys of its search space the command line fixes.

    The sweeper leaves these keys out without a message.
    """

    def on_multirun_start(self, config, **kwargs) -> None:
        space = config.hydra.sweeper.get("params") or {}
        overrides = parse(config.hydra.overrides.task)
        fixed = [o for o in overrides if o.key_or_group in space and not o.is_sweep_override()]
        if fixed:
            lines = ", ".join(str(override.input_line) for override in fixed)
            print(f"{lines}: fixed by the command line, not searched", flush=True)


def print_failures(failures: list[tuple[Path, str]]) -> None:
    """Prints the runs and messages of `reporting.finished_runs.read_failures`."""
    for run, reason in failures:
        print(f"failed: {run}: {reason}", flush=True)
