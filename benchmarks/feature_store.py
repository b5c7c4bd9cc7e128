"""What the feature store saves, what filling it costs, and the memory that training from it takes.

    python benchmarks/feature_store.py                  # about ten minutes on two cores
    python benchmarks/feature_store.py --parts epoch --pictures 40

All for VGG16 with random weights, tapped at block5_conv3, pictures of 224 px, and the default head.

epoch       seconds an epoch of stage 1 on the default data, `--pictures` of each species in all:
            mean of 20 epochs from the store, and of one with trainer.feature_store=false.
extraction  pictures a second while an empty store is filled (reading, decoding, scaling, the
            backbone, writing), against the backbone alone on random tensors of the same batch. The
            two take turns, and the best of `--rounds` counts: what else the machine does only slows
            them. The ratio in processor time is the steadier one.
memory      the most that a process ever holds (resource.getrusage, Linux) while it trains one epoch
            on `--images` made feature maps of 14 x 14 x 512, whose descriptors would not fit.
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
# Each part runs in a process of its own, and TensorFlow is imported there alone: what this process
# holds would count as a child's memory.


def configuration(folder: Path, *overrides: str):
    from hydra import compose, initialize_config_dir

    from conf.validation import checked

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        store = f"trainer.feature_dir={folder / 'features'}"
        return checked(compose("config", [*OVERRIDES, store, *overrides]))


def epoch(options, folder: Path) -> list[tuple[str, str]]:
    def seconds(name: str, *overrides: str) -> float:
        command = [sys.executable, ROOT / "train.py", *OVERRIDES, *overrides]
        command += [f"data.limit={max(1, options.pictures // 3)}", "data.mirror=false"]
        command += [f"trainer.feature_dir={folder / 'features'}", f"hydra.run.dir={folder / name}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        stage = json.loads((folder / name / "metrics.json").read_text())["stages"]["head"]
        return stage["seconds"] / stage["epochs"]

    stored = seconds("stored", "trainer.epochs=20")
    pictures = seconds("pictures", "trainer.epochs=1", "trainer.feature_store=false")
    return [
        ("epoch from pictures", f"{pictures:.2f} s"),
        ("epoch from the store", f"{stored:.3f} s"),
        ("ratio", f"{pictures / stored:.0f}"),
    ]


def extraction(options, folder: Path) -> list[tuple[str, str]]:
    import tensorflow as tf

    from data.datasets import open_dataset
    from data.feature_store import EXTRACTION_BATCH
    from models.backbones import build_backbone
    from training.feature_extraction import stored_features

    config = configuration(folder, f"data.limit={max(1, options.pictures // 3)}")
    backbone = build_backbone(config.backbone, config.data.image_size)
    dataset = open_dataset(config.data, config.seed)
    forward = tf.function(lambda batch: backbone(batch, training=False))
    batch = tf.random.uniform((EXTRACTION_BATCH, *backbone.input.shape[1:]), 0, 255)
    batches = -(-len(dataset.indices) // EXTRACTION_BATCH)
    forward(batch)

    def alone():
        for _ in range(batches):
            forward(batch).numpy()

    costs = {"the backbone alone": [], "extraction": []}  # seconds a picture: passed, computed
    for number in range(options.rounds):
        config.trainer.feature_dir = str(folder / str(number))
        seconds = cost(alone) / (batches * EXTRACTION_BATCH)
        costs["the backbone alone"].append(seconds)
        seconds = cost(lambda: stored_features(config, dataset, backbone)) / len(dataset.indices)
        costs["extraction"].append(seconds)
    best = {name: np.min(cost, axis=0) for name, cost in costs.items()}
    ratio, computed = best["the backbone alone"] / best["extraction"]
    return [
        *((name, f"{1 / seconds[0]:.2f} pictures/s") for name, seconds in best.items()),
        ("ratio of the rates", f"{ratio:.3f}"),
        ("ratio in processor time", f"{computed:.3f}"),
    ]


def cost(work) -> np.ndarray:
    """Seconds that pass, and that processors work for this process."""
    before = time.perf_counter(), time.process_time()
    work()
    return np.subtract((time.perf_counter(), time.process_time()), before)


def memory(options, folder: Path) -> list[tuple[str, str]]:
    from data.datasets import Dataset
    from data.feature_store import FeatureStore
    from models.classifier import build_classifier
    from training.initialization import standardize
    from training.objectives import classification_objective
    from training.stage import Stage, fit_stage

    class Made:
        labels = np.arange(options.images) % CLASSES

    config = configuration(folder, "trainer.epochs=1")
    indices, none = np.arange(options.images), np.arange(0)
    names = [str(number) for number in range(CLASSES)]
    dataset = Dataset("made", Made(), names, {"train": indices, "val": none, "test": none}, "")
    classifier = build_classifier(config, CLASSES)
    shape = classifier.backbone.output.shape[1:]
    rng = np.random.default_rng(0)

    def made(indices):
        for _ in indices:
            yield rng.random((1, 1, *shape), np.float32)

    store = FeatureStore(folder / "features", {"data": "made"}, indices, shape, "float32", 1)
    inputs = store.open(made)
    size = config.trainer.batch_size
    standardize(classifier.linear, classifier.descriptor, inputs, indices, size)
    rate = config.optimizer.learning_rate
    objective = classification_objective(config.loss, CLASSES)
    stage = Stage("head", classifier.head, inputs, 1, 0, size, rate, objective)
    record = fit_stage(stage, dataset, config, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        ("pictures", str(len(indices))),
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
    parser.add_argument("--pictures", type=int, default=15, help="of each species (default: 15)")
    parser.add_argument("--images", type=int, default=12_000, help="made ones (default: 12000)")
    parser.add_argument("--rounds", type=int, default=3, help="of extraction (default: 3)")
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
