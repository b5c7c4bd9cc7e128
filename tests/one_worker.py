"""Runs `train.py` as the terminal would, and writes the loss of each step as JSON.

    python tests/one_worker.py LOSSES DEVICES key=value ...

A helper of tests/test_strategy.py: several of it, as processes, are the workers of a cluster.
"""

import json
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def record(path: Path) -> None:
    """Has every step add its loss to the file; a killed worker leaves what it had."""
    from training.callbacks import StopOnDivergence

    check = StopOnDivergence.on_train_batch_end

    def recording(callback, batch, logs=None):
        line = json.dumps([callback.stage, callback.epoch, batch, float(logs["loss"])])
        with path.open("a") as file:
            file.write(f"{line}\n")
        check(callback, batch, logs)

    StopOnDivergence.on_train_batch_end = recording


def train_on_descriptors() -> None:
    """Trains stage 1 on descriptors, as several devices do, and not on coordinates."""
    from experiments import two_stages

    two_stages.why_not = lambda *_: "it is compared with several devices"


def divide_processor(devices: int) -> None:
    """Makes several devices of the processor, for MirroredStrategy."""
    import tensorflow as tf

    [processor] = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(processor, parts)


if __name__ == "__main__":
    losses, devices, *overrides = sys.argv[1:]
    if int(devices) > 1:
        divide_processor(int(devices))
    record(Path(losses))
    train_on_descriptors()
    sys.argv = ["train.py", *overrides]
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
