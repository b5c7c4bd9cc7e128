"""Measures the time that the feature store saves, the cost of filling it, and peak memory.

    python benchmarks/feature_store.py                  # about ten minutes on two cores
    python benchmarks/feature_store.py --parts epoch --images-per-class 40

All parts use VGG16 with random weights, tapped at block5_conv3, images of 224 px, and the default
head. Each part runs in a process of its own.

epoch       seconds per epoch of stage 1 on the default data with `--images-per-class` images: the
            mean of 20 epochs from the store, and one epoch with trainer.feature_store=false.
extraction  images per second while an empty store is filled (reading, decoding, scaling, the
            backbone, writing), compared with the backbone alone on random batches of the same size.
            The two alternate, and the best of `--rounds` counts, because other load on the machine
            only slows them. The ratio in processor time varies less.
memory      the peak memory of a process (VmHWM, Linux) that trains one epoch on `--made-images`
            random feature maps of 14 x 14 x 512, read from a store.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf

from benchmarks.classification import configuration, made_dataset, train_stage_1
from benchmarks.measuring import in_own_process, process_bytes
from data.datasets import open_dataset
from data.feature_store import EXTRACTION_BATCH, FeatureStore
from models.backbones import build_backbone
from training.feature_extraction import stored_features

OVERRIDES = ["backbone.tap=block5_conv3", "data.image_size=224"]


def epoch(options, folder: Path) -> dict[str, str]:
    def epoch_seconds(name: str, *overrides: str) -> float:
        limit = f"data.limit={max(1, options.images_per_class // 3)}"  # of each of three splits
        config = configuration(folder / "features", *OVERRIDES, limit, *overrides)
        stage = train_stage_1(config, folder / name).stages["head"]
        return stage["seconds"] / stage["epochs"]

    stored = epoch_seconds("stored", "trainer.epochs=20")
    images = epoch_seconds("images", "trainer.epochs=1", "trainer.feature_store=false")
    return {
        "epoch from images": f"{images:.2f} s",
        "epoch from the store": f"{stored:.3f} s",
        "ratio": f"{images / stored:.0f}",
    }


def extraction(options, folder: Path) -> dict[str, str]:
    limit = f"data.limit={max(1, options.images_per_class // 3)}"
    config = configuration(folder, *OVERRIDES, limit)
    backbone = build_backbone(config.backbone, config.data.image_size)
    dataset = open_dataset(config.data, config.seed)
    forward = tf.function(lambda batch: backbone(batch, training=False))
    batch = tf.random.uniform((EXTRACTION_BATCH, *backbone.input.shape[1:]), 0, 255)
    batches = -(-len(dataset.indices) // EXTRACTION_BATCH)
    forward(batch)  # traces
    costs = []  # of each round: elapsed and processor seconds per image, alone and of extraction
    for number in range(options.rounds):
        config.trainer.feature_dir = str(folder / str(number))
        alone = cost(lambda: [forward(batch).numpy() for _ in range(batches)])
        filling = cost(lambda: stored_features(config, dataset, backbone))
        costs.append([alone / (batches * EXTRACTION_BATCH), filling / len(dataset.indices)])
    alone, filling = np.min(costs, axis=0)
    return {
        "the backbone alone": f"{1 / alone[0]:.2f} images/s",
        "extraction": f"{1 / filling[0]:.2f} images/s",
        "ratio of the rates": f"{alone[0] / filling[0]:.3f}",
        "ratio in processor time": f"{alone[1] / filling[1]:.3f}",
    }


def cost(function) -> np.ndarray:
    """Returns the elapsed seconds, and the seconds of processor time of this process."""
    before = time.perf_counter(), time.process_time()
    function()
    return np.subtract((time.perf_counter(), time.process_time()), before)


def memory(options, folder: Path) -> dict[str, str]:
    dataset = made_dataset(options.made_images, classes=9)
    indices = dataset.indices

    def random_features(config, dataset, backbone):
        shape, rng = backbone.output.shape[1:], np.random.default_rng(0)
        store = FeatureStore(folder / "features", {"data": "made"}, indices, shape, "float32", 1)
        return store.open(lambda missing: (rng.random((1, 1, *shape), np.float32) for _ in missing))

    # The descriptors must not fit in memory, or stage 1 would read them instead of the store.
    overrides = ["trainer.epochs=1", "trainer.stage_1_gib=1e-6"]
    config = configuration(folder / "features", *OVERRIDES, *overrides)
    with (
        mock.patch("experiments.experiment.open_dataset", lambda *_: dataset),
        mock.patch("experiments.two_stages.why_not", lambda *_: "the store is measured"),
        mock.patch("training.feature_extraction.stored_features", random_features),
    ):
        experiment = train_stage_1(config, folder / "run")
    feature_bytes = 4 * len(indices) * np.prod(experiment.parts.backbone.output.shape[1:])
    return {
        "images": str(len(indices)),
        "their features": f"{feature_bytes / 2**30:.2f} GiB",
        "peak memory": f"{process_bytes('VmHWM') / 2**30:.2f} GiB",
        "the epoch": f"{experiment.stages['head']['seconds']:.0f} s",
    }


PARTS = {"epoch": epoch, "extraction": extraction, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--images-per-class", type=int, default=15, help="default: 15")
    parser.add_argument("--made-images", type=int, default=12_000, help="default: 12000")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            for name, value in in_own_process(PARTS[part], options, Path(folder)).items():
                print(f"{part:12}{name:32}{value:>20}", flush=True)


if __name__ == "__main__":
    main()
