"""task=post_mortem: which faults of a re-implemented head keep it at 30%?

The head of `models/faulty_head.py` is trained with all its faults, with each alone repaired, with
each alone left in, and with none, on the same frozen features. Each is trained in a folder of its
own, so that a run which was killed goes on at the head where it was.
"""

import dataclasses
import itertools
import json
import time
from pathlib import Path

import keras

from conf.schema import Config, Schedule, Solver
from data.balanced_batches import Balance, balance_of
from data.datasets import Dataset, open_dataset
from data.inputs import ArrayInputs
from data.pipeline import steps
from errors import UserError
from experiments import run_folder
from experiments.evaluation import metrics, predict_split
from models.backbones import build_backbone
from models.classifier import build_linear, with_probabilities
from models.faulty_head import (
    IN_POOLING,
    VARIANTS,
    Fault,
    Faults,
    build_faulty_descriptor,
    build_norm,
)
from models.parts import Parts
from training.first_embedding import begin_linear
from training.frozen import descriptors, fits_in_memory, stored_features
from training.objectives import classification_objective
from training.precision import settle_precision
from training.reproducibility import begin
from training.stages import Stage, fit_stage

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
    if dataset.citation:
        (folder / "citation.bib").write_text(dataset.citation)
    run_folder.write_json(folder / "classes.json", dataset.class_names)
    config = settle_precision(config, dataset, folder)
    begin(config)
    balance = balance_of(config.trainer, dataset.splits["train"], dataset.labels)
    backbone = build_backbone(config.backbone, config.data.image_size)
    features = stored_features(config, dataset, backbone)
    trained = {faults - {Fault.loops} for faults in VARIANTS.values()}  # which changes no figure
    for pooling, members in itertools.groupby(sorted(trained, key=_pooling_first), _pooling):
        missing = [faults for faults in members if not _record(folder, faults).exists()]
        if missing:
            _train(config, dataset, balance, backbone, features, pooling, missing, folder)
    variants = {}
    for name, faults in VARIANTS.items():
        record = json.loads(_record(folder, faults - {Fault.loops}).read_text())
        seconds = _step_seconds(config, dataset, features, faults)
        print(f"{name}: {seconds:.3f} seconds a step", flush=True)
        variants[name] = record | {"step_seconds": seconds}
    results = {
        **{split: variants["no fault"][split] for split in ("val", "test")},
        "variants": variants,
        "data": {name: len(rows) for name, rows in dataset.splits.items()}
        | {"classes": len(dataset.class_names), "damaged": list(dataset.damaged)},
        "precision": config.trainer.precision.value,
        "seconds": round(time.perf_counter() - started, 3),
    }
    run_folder.write_json(folder / "metrics.json", results)
    return results


def _check(config: Config) -> None:
    wanted = (
        ("solver", config.solver.value, Solver.sgd.value, "trains every head by steps"),
        ("head", config.head.name, "improved_bilinear", "rebuilds this head"),
        ("head.reduction", config.head.reduction, None, "pools each map once"),
        ("trainer.feature_store", config.trainer.feature_store, True, "pools stored features"),
        ("trainer.fine_tune_epochs", config.trainer.fine_tune_epochs, 0, "has no second stage"),
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
    config: Config, dataset: Dataset, balance: Balance | None, backbone: keras.Model,
    features: ArrayInputs, pooling: Faults, heads: list[Faults], folder: Path,
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
        print(f"\n{path.parent.name}", flush=True)
        keras.utils.set_random_seed(config.seed)
        own = _with_faults(config, dataset, balance, faults)
        norm = build_norm(faults)
        linear = build_linear(own, inputs.shape, len(dataset.class_names))
        begin_linear(own, dataset, Parts(backbone, descriptor, linear), inputs, norm)
        vector = keras.Input(inputs.shape)
        model = keras.Model(vector, linear(norm(vector)))
        stage = Stage(
            "head", model, inputs, own.trainer.epochs, 0, size, own.optimizer.learning_rate,
            classification_objective(config.loss, len(dataset.class_names)), balance=balance,
        )
        record = {"stages": {"head": fit_stage(stage, dataset, own, path.parent)}}
        for split in ("val", "test"):
            record[split] = _figures(config, stage, dataset, split)
        if not faults:
            complete = Parts(backbone, descriptor, model).from_pictures
            run_folder.save_model(folder, with_probabilities(complete))
        run_folder.write_json(path, record)


def _with_faults(
    config: Config, dataset: Dataset, balance: Balance | None, faults: Faults
) -> Config:
    """`config` with those faults that are a configuration; the few steps are whole epochs."""
    head, trainer, optimizer = config.head, config.trainer, config.optimizer
    if Fault.unit_norm in faults:
        head = dataclasses.replace(head, standardize=False)
    if Fault.steps in faults:
        epoch = steps(dataset.splits["train"], trainer.batch_size, balance)
        few = min(trainer.epochs, max(1, round(FEW_STEPS / epoch)))
        trainer = dataclasses.replace(trainer, epochs=few)
    if Fault.learning_rate in faults:
        optimizer = dataclasses.replace(
            optimizer, learning_rate=LOW_RATE, momentum=0.0, schedule=Schedule.constant
        )
    return dataclasses.replace(config, head=head, trainer=trainer, optimizer=optimizer)


def _figures(config: Config, stage: Stage, dataset: Dataset, split: str) -> dict | None:
    rows = dataset.splits[split]
    if not len(rows):
        return None
    probabilities = predict_split(
        with_probabilities(stage.model), stage.inputs, dataset, split, stage.batch_size,
        config.data.average_mirror,
    )
    return metrics(probabilities, dataset.labels[rows])


def _step_seconds(
    config: Config, dataset: Dataset, features: ArrayInputs, faults: Faults
) -> float:
    """How long a head's step takes, from a batch of feature maps: pooled, classified, learned.

    The loops run eagerly, as unrolled into a graph they would take minutes to trace, and over a few
    samples, as if each took as long.
    """
    looped = Fault.loops in faults
    size = config.trainer.batch_size
    rows = dataset.splits["train"][: min(TIMED_SAMPLES, size) if looped else size]
    maps, labels = features.evaluation(rows), dataset.labels[rows]
    descriptor = build_faulty_descriptor(config, faults, features.shape, len(rows))
    linear = build_linear(config, descriptor.output.shape[1:], len(dataset.class_names))
    sample = keras.Input(features.shape)
    model = keras.Model(sample, linear(build_norm(faults)(descriptor(sample))))
    model.compile(
        optimizer=keras.optimizers.SGD(LOW_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=looped,
    )
    taken = []
    for _ in range(2 if looped else TIMED_STEPS):
        started = time.perf_counter()
        model.train_on_batch(maps, labels)
        taken.append(time.perf_counter() - started)
    return round(min(taken) * size / len(rows), 4)
