"""task=classification: train a head on a frozen backbone, fine-tune if asked, test once."""

import time
from pathlib import Path

import keras
import numpy as np

import run_folder
from conf.schema import Config, Solver
from data.balanced_batches import balance_of
from data.datasets import Dataset, open_dataset
from data.inputs import ImageInputs
from evaluation.metrics import classification_metrics
from evaluation.prediction import predict_split
from experiments.two_stages import fine_tune_stage, head_stage
from losses import CenterLoss
from models.backbones import weights_digest
from models.classifier import Classifier, build_classifier, with_probabilities
from models.saved_model import save_model
from reporting.tensorboard import log_classification
from training.distributed.workers import workers_of
from training.feature_extraction import head_inputs
from training.initialization import initialize_from_data
from training.objectives import classification_objective
from training.precision import resolve_precision
from training.reproducibility import seed_everything
from training.softmax_center import SoftmaxCenterModel, build_center_loss
from training.stage import Stage, fit_stage
from training.svm import check_svm, fit_svm


def run(config: Config, folder: Path) -> dict:
    """Runs the experiment that `config` describes, and fills its folder.

    Returns:
        What `metrics.json` holds: "val" and "test" figures of the final model, "stages" with a
        record of each, and the data set's and the model's sizes. Of several workers the chief alone
        has more than "val".

    Raises:
        UserError: a mistake in the configuration, the data or the weights; a loss that diverges.
    """
    started = time.perf_counter()
    dataset = open_dataset(config.data, config.seed)
    print(dataset.summary(), flush=True)
    config = resolve_precision(config, dataset, folder)
    seed_everything(config)
    classes = len(dataset.class_names)
    balance = balance_of(config.trainer, dataset.splits["train"], dataset.labels)
    workers = workers_of(config)
    classifier = workers.build(build_classifier, config, classes)
    if config.solver is Solver.svm:
        check_svm(config, dataset, classifier.descriptor)
    with workers.scope():
        center_loss = build_center_loss(config, classifier)
    run_folder.write_data(folder, dataset)
    size = classifier.descriptor.output.shape[-1]
    print(f"{config.backbone.name}, {config.head.name}: {size} numbers a picture", flush=True)
    records = {}

    model, inputs, describe = head_inputs(config, dataset, classifier)
    initialize_from_data(config, dataset, classifier, inputs, describe)
    stage = head_stage(
        config,
        model,
        inputs,
        classification_objective(config.loss, classes),
        balance,
        training_model=_fitted(config, classifier, model, center_loss),
    )
    if config.solver is Solver.svm:
        records["head"] = fit_svm(model, inputs, dataset, config.data.mirror)
    else:
        records["head"] = fit_stage(stage, dataset, config, folder)
    records["head"]["val"] = _metrics(config, stage, dataset, "val")
    if config.trainer.fine_tune_epochs:
        classifier.unfreeze()
        model, inputs = classifier.from_images, ImageInputs(dataset.images, config.data)
        stage = fine_tune_stage(
            config,
            model,
            inputs,
            classification_objective(config.loss, classes),
            classifier.linear.trainable_variables,
            balance,
            training_model=_fitted(config, classifier, model, center_loss),
        )
        records["fine_tune"] = fit_stage(stage, dataset, config, folder)
        records["fine_tune"]["val"] = _metrics(config, stage, dataset, "val")
    if not workers.is_chief:
        return {"val": records[stage.name]["val"]}

    save_model(folder, classifier.complete)
    probabilities = _predict(config, stage, dataset, "test")
    results = {
        "val": records[stage.name]["val"],
        "test": classification_metrics(probabilities, dataset.labels[dataset.splits["test"]]),
        "stages": records,
        "data": dataset.sizes(),
        "descriptor_size": classifier.descriptor.output.shape[-1],
        "backbone_digest": weights_digest(classifier.backbone),
        "precision": config.trainer.precision.value,
        "seconds": round(time.perf_counter() - started, 3),
    }
    run_folder.write_predictions(folder / "predictions.csv", dataset, "test", probabilities)
    log_classification(config, folder, dataset, classifier, probabilities)
    run_folder.write_json(folder / "metrics.json", results)
    return results


def _fitted(
    config: Config, classifier: Classifier, model: keras.Model, center_loss: CenterLoss | None
) -> keras.Model | None:
    """What is trained in place of `model`, one of the classifier's; None for `model` itself."""
    if center_loss is None:
        return None
    network = classifier.with_embedding(model)
    with workers_of(config).scope():
        return SoftmaxCenterModel(network, center_loss, config.loss.center_weight)


def _predict(config: Config, stage: Stage, dataset: Dataset, split: str) -> np.ndarray:
    return predict_split(
        with_probabilities(stage.model),
        stage.inputs,
        dataset,
        split,
        stage.batch_size,
        config.data.average_mirror,
    )


def _metrics(config: Config, stage: Stage, dataset: Dataset, split: str) -> dict | None:
    if not len(dataset.splits[split]):
        return None
    return classification_metrics(
        _predict(config, stage, dataset, split), dataset.labels[dataset.splits[split]]
    )
