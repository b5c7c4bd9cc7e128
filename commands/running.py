"""What the commands share: a user's mistake is one line, not a traceback."""

import contextlib
import dataclasses
import difflib
import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from conf.schema import Config
from errors import TRY_AGAIN, UserError

MISTAKE = UserError.status
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


def run_command(main: Callable[[], object]) -> NoReturn:
    """Runs a command and ends the process: a mistake in the command, the configuration or the data
    is printed as `error: ...`, with status 2 or its own. Anything else is a defect of the program,
    and keeps its traceback; so does everything with HYDRA_FULL_ERROR=1 in the environment.

    Args:
        main: what to run. `SystemExit(error)` counts as the error: of any other exception Hydra
            would print lines of its own on the way.
    """
    status = _status(main)
    # The exception is gone, and with it go the input pipelines of the frames that it held: a thread
    # that still calls Python while the interpreter takes itself down crashes the process.
    gc.collect()
    sys.exit(status)


def _status(main: Callable[[], object]) -> int | str | None:
    debugging = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # have Hydra raise, where it would print and exit
    try:
        main()
    except KeyboardInterrupt as error:
        print(f"interrupted{error}", file=sys.stderr)
        return INTERRUPTED
    except (UserError, HydraException, OmegaConfBaseException, SystemExit) as error:
        mistake = error.code if isinstance(error, SystemExit) else error
        if not isinstance(mistake, Exception):
            return mistake
        if debugging and getattr(mistake, "status", MISTAKE) == MISTAKE:
            raise mistake from mistake.__cause__
        return _explained(mistake)
    return 0


def _explained(mistake: Exception) -> int:
    """The exit status, after the mistake is printed in one line."""
    print(f"error: {format_error(mistake)}", file=sys.stderr, flush=True)
    status = getattr(mistake, "status", MISTAKE)
    if status != MISTAKE:  # TensorFlow would wait for those who are gone
        sys.stdout.flush()
        os._exit(status)
    return status


@contextlib.contextmanager
def exit_when_terminated():
    """Turns SIGTERM, which a cluster sends before it kills, into an orderly exit: what is under way
    saves what it has, and the process ends with status 75."""

    def terminate(number, frame):
        print(f"terminated{resume_hint()}", file=sys.stderr)
        sys.exit(TRY_AGAIN)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def resume_hint() -> str:
    """How the run or sweep that this process is at goes on, if it is at one."""
    if not HydraConfig.initialized():
        return ""
    config = HydraConfig.get()
    if config.mode is RunMode.MULTIRUN:
        return f"; the same command with hydra.sweep.dir={config.sweep.dir} goes on"
    return f"; python train.py hydra.run.dir={config.runtime.output_dir} goes on"


def limit_threads(jobs: int) -> None:
    """Gives this process its share of the cores, before it imports TensorFlow.

    Args:
        jobs: how many run at once; negative, as joblib has it: one a core.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = str(max(1, cores // jobs if jobs > 0 else 1))
    if jobs != 1:
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, threads)


def import_tensorflow() -> str:
    """Imports TensorFlow without its start-up messages, and says what it will run on.

    With TF_CPP_MIN_LOG_LEVEL in the environment all messages are shown.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return _devices()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)  # they are written below Python, where no setting reaches
    try:
        return _devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _devices() -> str:
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # each stage and each run traces its own functions
    logging.getLogger("absl").setLevel("WARNING")  # TFDS tells of each look at its folders
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join(gpus) or f"{os.cpu_count()} CPU cores"


def format_error(error: BaseException) -> str:
    """The message, for Hydra's also those of its causes, and of an unknown key or choice the known
    ones nearest to it."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    messages = []
    while error is not None:
        text = re.sub(r"\n\s*full_key: (.*)", r" (\1)", str(error))
        text = re.sub(r"\n\s*(object_type|reference_type)=.*", "", text)
        text = " ".join(re.sub(r"\n(To append|Config search path)[^\0]*", "", text).split())
        if text not in messages:
            messages.append(text)
        error = error.__cause__
    message = "; ".join(text.rstrip(". ") for text in messages)
    if re.search(r"Could not (find|load) 'hydra/(launcher|sweeper)/", message):
        message += "; it may need pip install -r requirements-launchers.txt"
    if unknown := re.search(r"Key '(\w+)' (?:is )?not in", message):
        return message + (_meant(unknown.group(1), _known_keys()) or "; see conf/schema.py")
    if unknown := re.search(r"find '(\w+)/(\w+)'.*Available options in .*: (.*)", message):
        group, choice, choices = unknown[1], unknown[2], unknown[3].split()
        meant = _meant(choice, {name: [f"{group}={name}"] for name in choices})
        return f"{group}={choice}: there is {', '.join(choices)}{meant}"
    return message


def _meant(name: str, known: dict[str, list[str]]) -> str:
    near = [key for each in difflib.get_close_matches(name, known, n=2) for key in known[each]]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _known_keys() -> dict[str, list[str]]:
    """Where a key of each name is."""
    found = {}
    for field in dataclasses.fields(Config):
        found.setdefault(field.name, []).append(field.name)
        if dataclasses.is_dataclass(field.type):
            for key in dataclasses.fields(field.type):
                found.setdefault(key.name, []).append(f"{field.name}.{key.name}")
    return found
