"""task=post_mortem: which faults of a re-implemented head keep it at 30%?

The head of `faulty_head.py` is trained with all its faults, with each alone repaired, with
each alone left in, and with none, on the same frozen features. Each is trained in a folder of its
own, so that a run which was killed goes on at the head where it was.
"""

import dataclasses
import itertools
import json
import time
from pathlib import Path

import keras
import tensorflow as tf

import run_folder
from conf.schema import Config, Schedule, Solver
from data.datasets import Dataset, open_dataset
from data.inputs import ArrayInputs, MemoryInputs
from data.pipeline import steps
from errors import UserError
from evaluation.metrics import classification_metrics
from evaluation.prediction import predict_split
from experiments.post_mortem.faulty_head import (
    IN_POOLING,
    VARIANTS,
    Fault,
    Faults,
    build_faulty_descriptor,
    build_norm,
)
from experiments.post_mortem.in_memory import fit_in_memory, training_step
from models.backbones import build_backbone
from models.classifier import build_linear, with_probabilities
from models.parts import Parts
from models.saved_model import save_model
from training.feature_extraction import descriptors, fits_in_memory, stored_features
from training.optimizers import build_optimizer
from training.precision import resolve_precision
from training.reproducibility import seed_everything
from training.standardization import standardize

FEW_STEPS = 490
LOW_RATE = 1e-3
TIMED_STEPS = 5  # of which the fastest counts
TIMED_SAMPLES = 2  # of a batch where there are loops, whose time grows as the samples


def run(config: Config, folder: Path) -> dict:
    """Runs the experiment that `config` describes, and fills its folder.

    Returns:
        What `metrics.json` holds: "variants", with the figures of each head, its "step_seconds"
        and the record of its training; and, as of a run of the head without fault, "val" and
        "test".

    Raises:
        UserError: a mistake in the configuration, the data or the weights.
    """
    started = time.perf_counter()
    _check(config)
    dataset = open_dataset(config.data, config.seed)
    print(dataset.summary(), flush=True)
    config = resolve_precision(config, dataset, folder)
    seed_everything(config)
    run_folder.write_data(folder, dataset)
    backbone = build_backbone(config.backbone, config.data.image_size)
    features = stored_features(config, dataset, backbone)
    trained = {faults - {Fault.loops} for faults in VARIANTS.values()}  # which changes no figure
    for pooling, members in itertools.groupby(sorted(trained, key=_pooling_first), _pooling):
        missing = [faults for faults in members if not _record(folder, faults).exists()]
        if missing:
            _train(config, dataset, backbone, features, pooling, missing, folder)
    variants = {}
    for name, faults in VARIANTS.items():
        record = json.loads(_record(folder, faults - {Fault.loops}).read_text())
        seconds = _step_seconds(config, dataset, features, faults)
        print(f"{name}: {seconds:.3f} seconds a step", flush=True)
        variants[name] = record | {"step_seconds": seconds}
    results = {
        **{split: variants["no fault"][split] for split in ("val", "test")},
        "variants": variants,
        "data": dataset.sizes(),
        "precision": config.trainer.precision.value,
        "seconds": round(time.perf_counter() - started, 3),
    }
    run_folder.write_json(folder / "metrics.json", results)
    return results


def _check(config: Config) -> None:
    trainer = config.trainer
    wanted = (
        ("solver", config.solver.value, Solver.sgd.value, "trains every head by steps"),
        ("head", config.head.name, "improved_bilinear", "rebuilds this head"),
        ("head.reduction", config.head.reduction, None, "pools each map once"),
        ("head.embedding", config.head.embedding, None, "classifies descriptors themselves"),
        ("trainer.feature_store", trainer.feature_store, True, "pools stored features"),
        ("trainer.fine_tune_epochs", trainer.fine_tune_epochs, 0, "has no second stage"),
        ("trainer.classes_per_batch", trainer.classes_per_batch, None, "shuffles all pictures"),
    )
    for key, value, right, why in wanted:
        if value != right:
            said = {True: "true", None: "null"}.get(right, right)
            raise UserError(f"{key}={value}: task=post_mortem {why}; set it to {said}")


def _pooling(faults: Faults) -> Faults:
    return faults & IN_POOLING


def _pooling_first(faults: Faults) -> tuple[list[str], list[str]]:
    """Sorts heads so that those which share descriptors are neighbours."""
    return sorted(f.name for f in _pooling(faults)), sorted(f.name for f in faults)


def _record(folder: Path, faults: Faults) -> Path:
    names = {own: name for name, own in VARIANTS.items()}
    name = names.get(faults) or names[faults | {Fault.loops}]
    return folder / "variants" / name.replace(" ", "-").replace(",", "") / "record.json"


def _train(
    config: Config,
    dataset: Dataset,
    backbone: keras.Model,
    features: ArrayInputs,
    pooling: Faults,
    heads: list[Faults],
    folder: Path,
) -> None:
    """Trains `heads`, which differ behind `pooling` alone, from descriptors that are pooled once,
    and writes the record of each."""
    size = config.trainer.batch_size
    descriptor = build_faulty_descriptor(config, pooling, features.shape, size)
    if not fits_in_memory(config, dataset, descriptor):
        raise UserError(
            f"trainer.descriptor_gib={config.trainer.descriptor_gib:g}: task=post_mortem keeps all "
            "descriptors in memory; raise it, or set data.mirror=false or data.limit"
        )
    inputs = descriptors(config, features, descriptor)
    for faults in heads:
        path = _record(folder, faults)
        path.parent.mkdir(parents=True, exist_ok=True)
        model, record = fit_head(config, dataset, inputs, faults)
        print(f"{path.parent.name}: test accuracy {record['test']['accuracy']:.4f}", flush=True)
        if not faults:
            complete = Parts(backbone, descriptor, model).from_images
            save_model(folder, with_probabilities(complete))
        run_folder.write_json(path, record)


def fit_head(
    config: Config, dataset: Dataset, inputs: MemoryInputs, faults: Faults
) -> tuple[keras.Model, dict]:
    """Trains what reads descriptors, with those of `faults` that are not in these.

    Args:
        config: the run's, without a fault.
        dataset: with its splits.
        inputs: descriptors before their L2 norm, of all that the splits use.
        faults: see `experiments/post_mortem/faulty_head.py`.

    Returns:
        The model, from such a descriptor to logits, and its figures: "val", "test" and "stages".
    """
    keras.utils.set_random_seed(config.seed)
    config = _with_faults(config, dataset, faults)
    norm = build_norm(faults)
    linear = build_linear(config, inputs.shape, len(dataset.class_names))
    if config.head.standardize:
        standardize(linear, norm, inputs, dataset.splits["train"], config.trainer.batch_size)
    vector = keras.Input(inputs.shape)
    model = keras.Model(vector, linear(norm(vector)))
    record = {"stages": {"head": fit_in_memory(model, inputs, dataset, config)}}
    for split in ("val", "test"):
        record[split] = _metrics(config, model, inputs, dataset, split)
    return model, record


def _with_faults(config: Config, dataset: Dataset, faults: Faults) -> Config:
    """`config` with those faults that are a configuration; the few steps are whole epochs."""
    head, trainer, optimizer = config.head, config.trainer, config.optimizer
    if Fault.unit_norm in faults:
        head = dataclasses.replace(head, standardize=False)
    if Fault.steps in faults:
        epoch = steps(dataset.splits["train"], trainer.batch_size)
        few = min(trainer.epochs, max(1, round(FEW_STEPS / epoch)))
        trainer = dataclasses.replace(trainer, epochs=few)
    if Fault.learning_rate in faults:
        optimizer = dataclasses.replace(
            optimizer, learning_rate=LOW_RATE, momentum=0.0, schedule=Schedule.constant
        )
    return dataclasses.replace(config, head=head, trainer=trainer, optimizer=optimizer)


def _metrics(
    config: Config, model: keras.Model, inputs: MemoryInputs, dataset: Dataset, split: str
) -> dict | None:
    indices = dataset.splits[split]
    if not len(indices):
        return None
    probabilities = predict_split(
        with_probabilities(model),
        inputs,
        dataset,
        split,
        config.trainer.batch_size,
        config.data.average_mirror,
    )
    return classification_metrics(probabilities, dataset.labels[indices])


def _step_seconds(config: Config, dataset: Dataset, features: ArrayInputs, faults: Faults) -> float:
    """How long a head's step takes, from a batch of feature maps: pooled, classified, learned.

    The loops run eagerly, as unrolled into a graph they would take minutes to trace, and over a few
    samples, as if each took as long.
    """
    looped = Fault.loops in faults
    size = config.trainer.batch_size
    indices = dataset.splits["train"][: min(TIMED_SAMPLES, size) if looped else size]
    maps, labels = features.evaluation(indices), dataset.labels[indices]
    descriptor = build_faulty_descriptor(config, faults, features.shape, len(indices))
    linear = build_linear(config, descriptor.output.shape[1:], len(dataset.class_names))
    sample = keras.Input(features.shape)
    model = keras.Model(sample, linear(build_norm(faults)(descriptor(sample))))
    step = training_step(model, build_optimizer(config.optimizer, LOW_RATE))
    if not looped:
        step = tf.function(step)
    taken = []
    for _ in range(2 if looped else TIMED_STEPS):
        started = time.perf_counter()
        step(maps, labels)
        taken.append(time.perf_counter() - started)
    return round(min(taken) * size / len(indices), 4)
