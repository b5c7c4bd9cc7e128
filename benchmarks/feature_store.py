"""Measures the time that the feature store saves, the cost of filling it, and peak memory.

    python benchmarks/feature_store.py                  # about ten minutes on two cores
    python benchmarks/feature_store.py --parts epoch --images-per-class 40

All parts use VGG16 with random weights, tapped at block5_conv3, images of 224 px, and the default
head.

epoch       seconds per epoch of stage 1 on the default data with `--images-per-class` images: the
            mean of 20 epochs from the store, and one epoch with trainer.feature_store=false.
extraction  images per second while an empty store is filled (reading, decoding, scaling, the
            backbone, writing), compared with the backbone alone on random batches of the same size.
            The two alternate, and the best of `--rounds` counts, because other load on the machine
            only slows them. The ratio in processor time varies less.
memory      the peak memory of a process (resource.getrusage, Linux) that trains one epoch on
            `--made-images` random feature maps of 14 x 14 x 512, whose descriptors would not fit.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import in_own_process

ROOT = Path(__file__).parents[1]
OVERRIDES = ["backbone.tap=block5_conv3", "data.image_size=224"]
CLASSES = 9
# Each part runs in its own process, and only that imports TensorFlow: the memory of this process
# would count as a child's memory.


def configuration(folder: Path, *overrides: str):
    from hydra import compose, initialize_config_dir

    from conf.validation import checked

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        store = f"trainer.feature_dir={folder / 'features'}"
        return checked(compose("config", [*OVERRIDES, store, *overrides]))


def epoch(options, folder: Path) -> list[tuple[str, str]]:
    def seconds(name: str, *overrides: str) -> float:
        command = [sys.executable, str(ROOT / "train.py"), *OVERRIDES, *overrides]
        command += [f"data.limit={max(1, options.images_per_class // 3)}", "data.mirror=false"]
        command += [f"trainer.feature_dir={folder / 'features'}", f"hydra.run.dir={folder / name}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        stage = json.loads((folder / name / "metrics.json").read_text())["stages"]["head"]
        return stage["seconds"] / stage["epochs"]

    stored = seconds("stored", "trainer.epochs=20")
    images = seconds("images", "trainer.epochs=1", "trainer.feature_store=false")
    return [
        ("epoch from images", f"{images:.2f} s"),
        ("epoch from the store", f"{stored:.3f} s"),
        ("ratio", f"{images / stored:.0f}"),
    ]


def extraction(options, folder: Path) -> list[tuple[str, str]]:
    import tensorflow as tf

    from data.datasets import open_dataset
    from data.feature_store import EXTRACTION_BATCH
    from models.backbones import build_backbone
    from training.feature_extraction import stored_features

    config = configuration(folder, f"data.limit={max(1, options.images_per_class // 3)}")
    backbone = build_backbone(config.backbone, config.data.image_size)
    dataset = open_dataset(config.data, config.seed)
    forward = tf.function(lambda batch: backbone(batch, training=False))
    batch = tf.random.uniform((EXTRACTION_BATCH, *backbone.input.shape[1:]), 0, 255)
    batches = -(-len(dataset.indices) // EXTRACTION_BATCH)
    forward(batch)

    def alone():
        for _ in range(batches):
            forward(batch).numpy()

    # Seconds per image: elapsed and of processor time.
    costs: dict[str, list[np.ndarray]] = {"the backbone alone": [], "extraction": []}
    for number in range(options.rounds):
        config.trainer.feature_dir = str(folder / str(number))
        seconds = cost(alone) / (batches * EXTRACTION_BATCH)
        costs["the backbone alone"].append(seconds)
        seconds = cost(lambda: stored_features(config, dataset, backbone)) / len(dataset.indices)
        costs["extraction"].append(seconds)
    best = {name: np.min(cost, axis=0) for name, cost in costs.items()}
    ratio, computed = best["the backbone alone"] / best["extraction"]
    return [
        *((name, f"{1 / seconds[0]:.2f} images/s") for name, seconds in best.items()),
        ("ratio of the rates", f"{ratio:.3f}"),
        ("ratio in processor time", f"{computed:.3f}"),
    ]


def cost(work) -> np.ndarray:
    """The elapsed seconds, and the seconds of processor time of this process."""
    before = time.perf_counter(), time.process_time()
    work()
    return np.subtract((time.perf_counter(), time.process_time()), before)


def memory(options, folder: Path) -> list[tuple[str, str]]:
    from data.datasets import Dataset
    from data.feature_store import FeatureStore
    from data.image_folder import FolderImages
    from models.classifier import build_classifier
    from models.parts import StageInput
    from training.distributed.workers import connect
    from training.initialization import standardize
    from training.objectives import classification_objective
    from training.stage import Stage, fit_stage

    config = configuration(folder, "trainer.epochs=1")
    indices, none = np.arange(options.made_images), np.arange(0)
    images = FolderImages(Path(), [Path()] * len(indices), indices % CLASSES)  # never read
    names = [str(number) for number in range(CLASSES)]
    dataset = Dataset("made", images, names, {"train": indices, "val": none, "test": none}, "")
    classifier = build_classifier(config, CLASSES)
    shape = classifier.backbone.output.shape[1:]
    rng = np.random.default_rng(0)

    def random_features(indices):
        for _ in indices:
            yield rng.random((1, 1, *shape), np.float32)

    store = FeatureStore(folder / "features", {"data": "made"}, indices, shape, "float32", 1)
    inputs = store.open(random_features)
    size = config.trainer.batch_size
    standardize(classifier.linear, classifier.descriptor, inputs, indices, size)
    rate = config.optimizer.learning_rate
    objective = classification_objective(config.loss, CLASSES)
    network = classifier.network(StageInput.features)
    stage = Stage("head", network, inputs, 1, 0, size, rate, objective)
    workers = connect(config.task, config.trainer.strategy)
    record = fit_stage(stage, dataset, config, folder, workers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        ("images", str(len(indices))),
        ("their features", f"{len(indices) * store.sample_bytes / 2**30:.2f} GiB"),
        ("peak memory", f"{peak / 2**30:.2f} GiB"),
        ("the epoch", f"{record['seconds']:.0f} s"),
    ]


PARTS = {"epoch": epoch, "extraction": extraction, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--images-per-class",
        type=int,
        default=15,
        help="default: 15",
    )
    parser.add_argument("--made-images", type=int, default=12_000, help="default: 12000")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(PARTS[options.child](options, Path(folder))))
        return
    for part in options.parts:
        for name, value in in_own_process(__file__, *sys.argv[1:], "--child", part):
            print(f"{part:12}{name:32}{value:>20}", flush=True)


if __name__ == "__main__":
    main()
