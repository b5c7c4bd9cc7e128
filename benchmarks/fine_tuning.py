"""Images a second of stage 2, compared with `train_on_batch` on images in memory.

    python benchmarks/fine_tuning.py                       # drawn birds, random weights
    python benchmarks/fine_tuning.py data=image_folder data.path=FOLDER     # photographs

"in memory" is `train_on_batch` on one decoded batch, "stage 2" is `fit` on the batches of the
program: it reads, decodes, crops and augments the images of every step. Both train the same model,
in turn. "batches" are the images a second that the program prepares if nothing trains. Few
steps say little: `fit` first fills the buffers of the batches, which it does once in a stage.
With `--return-memory`, the process returns the memory of freed tensors, as others do.
"""

import argparse
import itertools
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from commands.allocation import keep_freed_memory

if "--return-memory" not in sys.argv:
    keep_freed_memory()

# isort: split

import keras
import tensorflow as tf

from benchmarks.classification import configuration
from benchmarks.measuring import median_seconds
from conf.schema import Config
from experiments.classification import Classification
from models.parts import StageInput
from training.distributed.workers import connect
from training.optimizers import build_optimizer, stage_2_options
from training.stage import Stage, stage_batches

MODEL = ["backbone=mobilenet_v2", "backbone.weights=random", "backbone.tap=block_13_expand_relu"]
VARIANTS = {
    "as it is": [],
    "batch norms not folded": [],
    "no block frozen": ["trainer.frozen_blocks=0"],
    "augment=rand_augment": ["augment=rand_augment"],
    "augment=mix": ["augment=mix"],
    "augment=strong": ["augment=strong"],
    "bfloat16": ["trainer.precision=mixed_bfloat16"],
}


def experiment(config: Config, folder: str) -> Classification:
    """Returns an experiment at the beginning of stage 2."""
    made = Classification(config, Path(folder), connect(config.task, config.trainer.strategy))
    made.open_data()
    made.build_model()
    made.parts.unfreeze(config.trainer.frozen_blocks)
    made.read_images()
    return made


def rates(made: Classification, folded: bool, steps: int, rounds: int) -> tuple[float, ...]:
    """Returns the images a second in memory, of stage 2, and of its batches alone."""
    config = made.config
    size, options = config.trainer.fine_tune_batch_size, stage_2_options(config.optimizer, 1)
    if not folded:
        made.parts.backbone.layers[-1]._folded.norms = {}
    network = made.parts.network(StageInput.images)
    objective = made.objective()
    stage = Stage("fine_tune", network, made.inputs, 1, 0, size, options.learning_rate, objective)
    network.compile(
        build_optimizer(options, options.learning_rate),
        objective.loss,
        metrics=list(objective.metrics),
    )
    batches = stage_batches(stage, made.dataset, config, 0)
    first = next(iter(batches))

    def in_memory() -> None:
        for _ in range(steps):
            network.train_on_batch(*first)

    def stage_2() -> None:
        network.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)

    def prepared() -> None:
        for _ in itertools.islice(batches, steps):
            pass

    seconds = median_seconds({call: call for call in (in_memory, stage_2, prepared)}, rounds)
    return tuple(size * steps / time for time in seconds.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=60, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--return-memory", action="store_true", help="of freed tensors")
    parser.add_argument("overrides", nargs="*", help="of python train.py, for example head=average")
    options = parser.parse_intermixed_args()
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {os.cpu_count()} cores\n")
    print("| MobileNetV2 at block_13, images a second | in memory | stage 2 | share | batches |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in options.variants:
        keras.backend.clear_session()
        keras.config.set_dtype_policy("float32")
        with tempfile.TemporaryDirectory() as folder:
            overrides = [*MODEL, *options.overrides, "trainer.fine_tune_epochs=1", *VARIANTS[name]]
            made = experiment(configuration(Path(folder), *overrides), folder)
            run = partial(rates, made, name != "batch norms not folded")
            memory, stage_2, batches = run(options.steps, options.rounds)
        share = f"{stage_2 / memory:.0%}"
        print(f"| {name} | {memory:.1f} | {stage_2:.1f} | {share} | {batches:.0f} |", flush=True)


if __name__ == "__main__":
    main()
