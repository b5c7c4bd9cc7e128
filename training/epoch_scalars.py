"""What TensorBoard shows epoch by epoch: the curves of training and validation."""

from pathlib import Path

import keras
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from event_file import EventFile
from training.schedules import learning_rate


class EpochScalars(keras.callbacks.Callback):
    """Logs what `keras.callbacks.TensorBoard` does by default, under the same names.

    That makes a summary of every figure after every batch also where none is to be written: of
    stage 1 on the drawn birds it took a twelfth, this takes a two-hundredth.

    Args:
        folder: training's curves go to its "train", validation's to its "validation".
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        self._files: dict[str, EventFile] = {}

    def on_epoch_end(self, epoch, logs=None):
        curves = {"train": [_curve("learning_rate", learning_rate(self.model))], "validation": []}
        for name, value in logs.items():
            curves["validation" if name.startswith("val_") else "train"].append(_curve(name, value))
        for split, summaries in curves.items():
            if summaries:
                self._file(split).write(summaries, epoch)

    def on_train_end(self, logs=None):
        for file in self._files.values():
            file.close()

    def _file(self, split: str) -> EventFile:
        if split not in self._files:
            self._files[split] = EventFile(self.folder / split)
        return self._files[split]


def _curve(name: str, value: float) -> Summary:
    return scalar_pb(f"epoch_{name.removeprefix('val_')}", float(value))
