"""Runs a command: exit status, one line for an error, signals, logging, devices."""

import argparse
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn, TextIO

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from commands import standard_streams
from commands.allocation import keep_freed_memory
from commands.error_messages import format_error
from commands.quoting import shell_argument
from errors import UserError, os_reason

INTERRUPTED = 130  # exit status after Ctrl-C, as in shells
PACKAGES = (
    "commands", "data", "evaluation", "experiments", "models", "reporting", "run_folder", "training"
)  # fmt: skip


def run_command(main: Callable[[], object]) -> NoReturn:
    """Runs a command and ends the process.

    An error in the command line, the configuration or the data is printed as `error: ...`, and the
    exit status is 2, or the error's own. Any other exception is a defect of the program and keeps
    its traceback. With HYDRA_FULL_ERROR=1 in the environment all errors keep it.

    Args:
        main: the command. It may raise `SystemExit(error)` instead of the error: for other
            exceptions Hydra prints lines of its own.
    """
    standard_streams.protect()
    configure_logging(sys.stderr)
    status = _status(main)
    try:
        standard_streams.flush()  # at the interpreter's exit, an error would be a traceback
    except SystemExit as error:
        reason = error.code
        status = status or (_report(reason) if isinstance(reason, Exception) else reason)
    # The exception is gone, and with it the input pipelines that its frames kept alive. A pipeline
    # thread that calls Python while the interpreter shuts down would crash the process.
    gc.collect()
    sys.exit(status)


def _status(main: Callable[[], object]) -> int | str | None:
    debugging = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises errors instead of printing them
    try:
        main()
    except KeyboardInterrupt as error:
        print(f"interrupted{error}", file=sys.stderr)
        return INTERRUPTED
    except AssertionError as error:
        if debugging or HydraConfig.initialized():
            raise
        return _report(  # OmegaConf fails so while Hydra composes the configuration
            UserError(
                "an override sets a key of a group that is null; choose the group too, as in "
                f"data@reference=drawn_birds ({error})"
            )
        )
    except (UserError, HydraException, OmegaConfBaseException, SystemExit) as error:
        mistake = error.code if isinstance(error, SystemExit) else error
        if not isinstance(mistake, Exception):
            return mistake
        if debugging and getattr(mistake, "status", UserError.status) == UserError.status:
            raise mistake from mistake.__cause__
        return _report(mistake)
    except OSError as error:  # such as Hydra's, which writes files of runs and sweeps too
        if debugging:
            raise
        file = f"{error.filename}: " if error.filename else ""
        return _report(UserError(f"{file}{os_reason(error)}"))
    return 0


def _report(mistake: Exception) -> int:
    """Prints an error in one line and returns its exit status."""
    print(f"error: {format_error(mistake)}", file=sys.stderr, flush=True)
    status = getattr(mistake, "status", UserError.status)
    if status != UserError.status:  # a lost worker: at exit, TensorFlow would wait for the others
        sys.stdout.flush()
        os._exit(status)
    return status


def configure_logging(stream: TextIO) -> None:
    """Prints the messages of this program to `stream`, and warnings of all others."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=stream, force=True)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Creates a parser whose `--help` keeps the line breaks of the description."""
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=formatter)


@contextlib.contextmanager
def exit_when_terminated() -> Iterator[None]:
    """Turns SIGTERM, which a cluster sends before it kills a job, into an orderly exit.

    The stage in progress closes its progress bar and saves its state, then a message says how to
    resume, and the process exits with status 75.
    """
    hints = []

    def terminate(number, frame):
        hints.append(resume_hint())  # now: Hydra forgets the folder before the message
        sys.exit(os.EX_TEMPFAIL)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if hints:
            print(f"terminated{hints[0]}", file=sys.stderr)


def resume_hint() -> str:
    """Says how to resume the run or sweep of this process; empty if there is none."""
    if not HydraConfig.initialized():
        return ""
    config = HydraConfig.get()
    if config.mode is RunMode.MULTIRUN:
        folder = shell_argument("hydra.sweep.dir", config.sweep.dir)
        return f"; to resume: the same command with {folder}"
    if OmegaConf.is_missing(config.runtime, "output_dir"):  # Hydra has not created the folder yet
        return ""
    return (
        f"; to resume: python train.py {shell_argument('hydra.run.dir', config.runtime.output_dir)}"
    )


def limit_threads(jobs: int) -> None:
    """Gives this process its share of the cores. It must run before TensorFlow is imported.

    Args:
        jobs: number of jobs at a time; negative, as in joblib: one per core.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = str(max(1, (cores or 1) // jobs if jobs > 0 else 1))
    if jobs != 1:
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, threads)


def import_tensorflow() -> str:
    """Imports TensorFlow without its start-up messages, and returns the names of its devices.

    With TF_CPP_MIN_LOG_LEVEL in the environment all messages are shown.
    """
    keep_freed_memory()
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return _devices()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)  # C++ code writes some messages before it reads any setting
    try:
        return _devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _devices() -> str:
    import tensorflow as tf

    # The layers are exact to float32, TF32 is not. Only GPUs have it.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.get_logger().setLevel("ERROR")  # otherwise it warns that functions are traced again
    logging.getLogger("absl").setLevel("WARNING")  # TFDS logs every access to its folders
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join(gpus) or f"{os.cpu_count()} CPU cores"
