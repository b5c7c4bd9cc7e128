"""Curves of training and validation for TensorBoard."""

from pathlib import Path

import keras
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from event_file import EventFile
from training.schedules import learning_rate


class EpochScalars(keras.callbacks.Callback):
    """Logs the same scalars as `keras.callbacks.TensorBoard` does by default, once an epoch.

    Keras's callback also makes a summary of every metric after every batch, even if it does not
    write it. On the drawn birds that takes a twelfth of stage 1, this callback a two-hundredth.

    Args:
        folder: the training curves go to its folder "train", the validation curves to
            "validation".
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        self._files: dict[str, EventFile] = {}

    def on_epoch_end(self, epoch, logs=None):
        summaries = {
            "train": [_scalar("learning_rate", learning_rate(self.model))],
            "validation": [],
        }
        for name, value in logs.items():
            split = "validation" if name.startswith("val_") else "train"
            summaries[split].append(_scalar(name.removeprefix("val_"), value))
        for split in filter(summaries.get, summaries):
            if split not in self._files:
                self._files[split] = EventFile(self.folder / split)
            self._files[split].write(summaries[split], epoch)

    def on_train_end(self, logs=None):
        for file in self._files.values():
            file.close()


def _scalar(name: str, value: float) -> Summary:
    return scalar_pb(f"epoch_{name}", float(value))
