"""task=one_class: features in which one class is compact, tried on classes never seen (Perera and
Patel 2019).

Each target is learned in a folder of its own where there are several, so that a run which was
killed goes on at the target where it was.
"""

import json
import re
import time
from pathlib import Path

import keras

import run_folder
from conf.schema import Config, Solver
from data.datasets import open_dataset
from errors import UserError
from experiments.one_class import results
from experiments.one_class.features import (
    Sources,
    build_features,
    first_features,
    frozen_sources,
    train,
)
from experiments.one_class.results import auroc, scored
from experiments.one_class.targets import Target, open_reference, targets
from models.backbones import weights_digest
from models.parts import Parts, build_parts
from models.saved_model import save_model
from training.precision import resolve_precision
from training.reproducibility import seed_everything


def run(config: Config, folder: Path) -> dict:
    """Runs the experiment that `config` describes, and fills its folder.

    Returns:
        What `metrics.json` holds: "val" and "test", the AUROC of the learned features by k-NN;
        "frozen" and "learned", that of each scorer; and "classes", all these of each target. With
        several targets the former are means, and "std" holds their standard deviations.

    Raises:
        UserError: a mistake in the configuration, the data or the weights; a loss that diverges.
    """
    started = time.perf_counter()
    _check(config)
    dataset = open_dataset(config.data, config.seed)
    reference = open_reference(config)
    chosen = targets(config, dataset, reference)
    print(f"{dataset.summary()}\nreference: {reference.summary()}", flush=True)
    run_folder.write_splits(folder, dataset, reference)
    run_folder.write_citations(folder, dataset, reference)
    config = resolve_precision(config, dataset, folder)
    seed_everything(config)
    parts = Parts(*build_parts(config, lambda shape: build_features(config, shape, rank=1)))
    sources = frozen_sources(config, dataset, reference, parts)
    frozen = [model.get_weights() for model in (parts.backbone, parts.descriptor)]
    folders = [_folder(target, chosen, folder) for target in chosen]
    records = {}
    for target, work in zip(chosen, folders, strict=True):
        parts.backbone.set_weights(frozen[0])  # the target before may have tuned them
        parts.descriptor.set_weights(frozen[1])
        parts.backbone.trainable, parts.descriptor.trainable = False, True
        records[target.name] = _learn(config, target, sources, parts, work)
    if len(chosen) > 1:
        results.join_predictions(folder, folders)
    outcome = results.over_targets(records) | {
        "classes": records,
        "descriptor_size": parts.descriptor.output.shape[-1],
        "precision": config.trainer.precision.value,
        "seconds": round(time.perf_counter() - started, 3),
    }
    run_folder.write_json(folder / "metrics.json", outcome)
    return outcome


def _check(config: Config) -> None:
    if config.solver is not Solver.sgd:
        raise UserError(f"solver={config.solver.value}: task=one_class takes solver=sgd")
    if config.head.embedding is not None:
        raise UserError(
            f"head.embedding={config.head.embedding}: task=one_class learns one_class.rank "
            "directions of the descriptors instead; set it to null"
        )
    if config.trainer.classes_per_batch is not None:
        raise UserError(
            f"trainer.classes_per_batch={config.trainer.classes_per_batch}: task=one_class reads "
            "batches of its own; set it to null"
        )
    for key in ("batch_size", "fine_tune_batch_size"):
        if getattr(config.trainer, key) < 2:
            raise UserError(
                f"trainer.{key}={getattr(config.trainer, key)}: compactness compares the pictures "
                "of a batch; task=one_class takes at least 2"
            )


def _learn(config: Config, target: Target, sources: Sources, parts: Parts, folder: Path) -> dict:
    """Trains, scores and records one target, unless its folder holds its record already."""
    finished = folder / "target.json"
    if finished.exists():
        return json.loads(finished.read_text())
    print(f"\ntarget {target.name}: {target.summary()}", flush=True)
    started, size = time.perf_counter(), config.trainer.batch_size
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config.seed)
    frozen = sources.tested(target, size)
    features = first_features(config, target, sources, parts)
    parts = Parts(parts.backbone, parts.descriptor, features)
    stages, sources = train(config, target, sources, parts, folder)
    learned = sources.tested(target, size, features)
    save_model(folder, parts.from_images)
    scores = {"frozen": scored(config, target, frozen), "learned": scored(config, target, learned)}
    truth = target.truth()
    record = {
        "val": results.validation(config, target, sources, features),
        "test": {"auroc": auroc(truth, scores["learned"]["k_nn"]), "pictures": len(truth)},
        **{
            kind: {name: auroc(truth, values) for name, values in of_kind.items()}
            for kind, of_kind in scores.items()
        },
        "stages": stages,
        "data": target.sizes(),
        "backbone_digest": weights_digest(parts.backbone),
        "seconds": round(time.perf_counter() - started, 3),
    }
    results.write_predictions(folder / "predictions.csv", target, sources, scores)
    results.draw_curves(folder, target, scores)
    run_folder.write_json(finished, record)
    return record


def _folder(target: Target, chosen: list[Target], folder: Path) -> Path:
    """The run's own for a single target."""
    name = f"{target.label:03d}-" + re.sub(r"\W+", "_", target.name)
    return folder if len(chosen) == 1 else folder / "targets" / name
