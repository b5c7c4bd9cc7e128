"""task=metric_learning: train an embedding on some classes, retrieve pictures of the others."""

import time
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import run_folder
from conf.schema import PRIMARY_METRIC, Config, Solver, Task
from data.balanced_batches import balance_of
from data.datasets import Dataset, open_dataset
from data.inputs import ImageInputs, Inputs
from errors import UserError
from evaluation import retrieval
from evaluation.prediction import describing, predict_split
from event_file import EventFile
from experiments.two_stages import fine_tune_stage, head_stage
from models.backbones import weights_digest
from models.embedder import build_embedder
from reporting import plots, projector
from reporting.image_summary import image_pb
from training.distributed.workers import workers_of
from training.feature_extraction import head_inputs
from training.initialization import initialize_from_data
from training.objectives import Objective, metric_objective
from training.precision import resolve_precision
from training.reproducibility import seed_everything
from training.stage import Stage, fit_stage

SHOWN = 5  # neighbours of a query in the picture


def run(config: Config, folder: Path) -> dict:
    """Runs the experiment that `config` describes, and fills its folder.

    Returns:
        What `metrics.json` holds: retrieval figures of the final embeddings as "val" and "test", of
        the untrained descriptors of the same test pictures as "untrained", "stages" with a record
        of each, and the data set's and the model's sizes. Of several workers the chief alone has
        more than "val".

    Raises:
        UserError: a mistake in the configuration, the data or the weights; a loss that diverges.
    """
    started = time.perf_counter()
    if config.solver is not Solver.sgd:
        raise UserError(f"solver={config.solver.value}: task=metric_learning takes solver=sgd")
    dataset = open_dataset(config.data, config.seed, disjoint_classes=True)
    print(dataset.summary(), flush=True)
    config = resolve_precision(config, dataset, folder)
    seed_everything(config)
    balance = balance_of(config.trainer, dataset.splits["train"], dataset.labels)
    workers = workers_of(config)
    embedder = workers.build(build_embedder, config)
    run_folder.write_data(folder, dataset)
    print(
        f"{config.backbone.name}, {config.head.name}: {embedder.descriptor.output.shape[-1]} "
        f"numbers a picture, embedded in {config.head.embedding}",
        flush=True,
    )

    model, inputs, describe = head_inputs(config, dataset, embedder)
    untrained = _vectors(config, describing(describe, inputs), inputs, dataset, "test")
    untrained = _metrics(config, retrieval.unit(untrained), dataset, "test")
    initialize_from_data(config, dataset, embedder, inputs, describe)
    stage = head_stage(config, model, inputs, _objective(config, dataset, inputs), balance)
    records = {"head": fit_stage(stage, dataset, config, folder)}
    records["head"]["val"] = _val_metrics(config, stage, dataset)
    if config.trainer.fine_tune_epochs:
        embedder.unfreeze()
        inputs = ImageInputs(dataset.images, config.data)
        stage = fine_tune_stage(
            config,
            embedder.from_images,
            inputs,
            _objective(config, dataset, inputs),
            embedder.linear.trainable_variables,
            balance,
        )
        records["fine_tune"] = fit_stage(stage, dataset, config, folder)
        records["fine_tune"]["val"] = _val_metrics(config, stage, dataset)
    if not workers.is_chief:
        return {"val": records[stage.name]["val"]}

    run_folder.save_model(folder, embedder.from_images)
    vectors = _vectors(config, stage.model, stage.inputs, dataset, "test")
    results = {
        "val": records[stage.name]["val"],
        "test": _metrics(config, vectors, dataset, "test"),
        "untrained": untrained,
        "stages": records,
        "data": dataset.sizes(),
        "descriptor_size": embedder.descriptor.output.shape[-1],
        "embedding_size": config.head.embedding,
        "backbone_digest": weights_digest(embedder.backbone),
        "precision": config.trainer.precision.value,
        "seconds": round(time.perf_counter() - started, 3),
    }
    _show(config, folder, dataset, vectors)
    run_folder.write_json(folder / "metrics.json", results)
    return results


def _objective(config: Config, dataset: Dataset, inputs: Inputs) -> Objective:
    labels = dataset.labels[dataset.splits["val"]]

    def validate(model):
        vectors = _vectors(config, model, inputs, dataset, "val")
        return {PRIMARY_METRIC[Task.metric_learning]: retrieval.recall_at_1(vectors, labels)}

    return metric_objective(config.loss, validate)


def _vectors(
    config: Config, model: keras.Model, inputs: Inputs, dataset: Dataset, split: str
) -> np.ndarray:
    return predict_split(
        model, inputs, dataset, split, config.trainer.batch_size, config.data.average_mirror
    )


def _val_metrics(config: Config, stage: Stage, dataset: Dataset) -> dict | None:
    if not len(dataset.splits["val"]):
        return None
    vectors = _vectors(config, stage.model, stage.inputs, dataset, "val")
    return _metrics(config, vectors, dataset, "val")


def _metrics(config: Config, vectors: np.ndarray, dataset: Dataset, split: str) -> dict:
    return retrieval.retrieval_metrics(vectors, dataset.labels[dataset.splits[split]], config.seed)


def _show(config: Config, folder: Path, dataset: Dataset, vectors: np.ndarray) -> None:
    """Leaves the test pictures' embeddings and neighbours, in the folder and in TensorBoard."""
    neighbours = retrieval.nearest(vectors, SHOWN)
    run_folder.write_neighbours(folder / "predictions.csv", dataset, "test", neighbours[:, 0])
    shown = plots.neighbours(dataset, "test", neighbours, config.data)
    Image.fromarray(shown).save(folder / "neighbours.png")
    logs = folder / "tensorboard"
    projector.write(logs, "test", vectors, dataset, "test", config.data)
    with EventFile(logs) as events:
        events.write([image_pb("test/neighbours", shown, "JPEG")])
