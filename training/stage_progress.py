"""The progress bar of a stage."""

import sys
import time

import keras
from tqdm import tqdm

from data.progress import drawn_on
from training.epoch_selection import best_epoch

COUNTS = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} epochs"
STEP_SECONDS = 1  # an epoch that takes longer moves the bar at its steps too


class StageProgress(keras.callbacks.Callback):
    """A bar that counts the epochs of a stage, with the time left and a metric:

        head:  60%|######    | 30/50 epochs, 00:08 left, accuracy 0.951, best 0.958

    The metric is the last value of `monitor` and the one of the best epoch, see `best_epoch`;
    without validation, the training loss. See `data/progress.py` for what a log file shows.

    Use it as a context manager: Keras does not tell a callback that training has failed, and the
    message of an error must not continue the bar's line.

    Args:
        description: what is trained.
        epochs: number of epochs of the stage.
        steps: steps per epoch.
        history: metrics of each epoch of the stage, those before an interruption included. Whoever
            trains appends those of an epoch before `on_epoch_end` is called.
        monitor: name of the metric that selects the best epoch, such as "val_accuracy".
        leave: whether the last state of the bar stays.
        start: metrics before the first epoch, which can be the best ones. Default: `None`.
    """

    def __init__(
        self,
        description: str,
        epochs: int,
        steps: int,
        history: list[dict[str, float]],
        monitor: str,
        leave: bool = True,
        start: dict[str, float] | None = None,
    ):
        super().__init__()
        self.description, self.epochs, self.steps = description, epochs, steps
        self.history, self.monitor, self.leave, self.start = history, monitor, leave, start

    def __enter__(self) -> "StageProgress":
        self.bar = tqdm(
            desc=self.description,
            total=self.epochs,
            initial=len(self.history),
            bar_format=COUNTS + ", {remaining} left{postfix}",
            postfix=self._metrics(),
            smoothing=0,  # validation takes time without a step: only the mean rate is steady
            miniters=0,  # of an epoch
            leave=self.leave,
            **drawn_on(sys.stdout),
        )
        self.step_seconds = max(STEP_SECONDS, self.bar.mininterval)
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        if error is None and self.bar.n < self.epochs:
            self.bar.set_postfix_str(f"{self._metrics()}, stopped early", refresh=False)
        self.bar.bar_format = COUNTS + " in {elapsed}{postfix}"
        self.bar.close()

    def on_train_batch_end(self, batch, logs=None):
        if time.time() - self.bar.last_print_t >= self.step_seconds:
            self._show(round(len(self.history) + (batch + 1) / self.steps, 2))

    def on_epoch_end(self, epoch, logs=None):
        self.bar.set_postfix_str(self._metrics(), refresh=False)
        self._show(len(self.history))

    def _show(self, epochs: float) -> None:
        self.bar.n = epochs
        self.bar.update(0)  # draws it, unless it has just been drawn

    def _metrics(self) -> str:
        if not self.history:
            return ""
        last = self.history[-1]
        if self.monitor not in last:
            return f"loss {last['loss']:.4g}"
        candidates = self.history if self.start is None else [self.start, *self.history]
        best = candidates[best_epoch(candidates, self.monitor)][self.monitor]
        name = self.monitor.removeprefix("val_")
        return f"{name} {last[self.monitor]:.3f}, best {best:.3f}"
