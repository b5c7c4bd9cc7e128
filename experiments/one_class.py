"""task=one_class: features in which one class is compact, tried on classes never seen (Perera and
Patel 2019).

Each target is learned in a folder of its own where there are several, so that a run which was
killed goes on at the target where it was.
"""

import csv
import dataclasses
import json
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from conf.schema import Config, Solver
from data.datasets import Dataset, open_dataset
from data.inputs import Inputs, PictureInputs
from data.pipeline import evaluation_batches, user_errors
from errors import UserError
from experiments import figures, run_folder
from experiments.one_class_data import Target, open_reference, targets
from experiments.one_class_scorers import scorers
from models.adapter import LowRankAdapter
from models.backbones import weights_digest
from models.embedding import build_embedding
from models.parts import Parts, build_parts
from training.first_embedding import set_directions
from training.frozen import head_inputs
from training.objectives import compactness_objective
from training.precision import settle_precision
from training.reproducibility import begin
from training.stages import Stage, fit_stage
from training.standardization import standardize
from training.two_streams import Stream

Scores = dict[str, dict[str, np.ndarray]]  # of "frozen" and "learned" features, by each scorer


@dataclasses.dataclass(frozen=True)
class Source:
    """What is read of one data set, and how that becomes descriptors."""

    dataset: Dataset
    inputs: Inputs
    describe: Callable

    def vectors(self, of_descriptor: Callable, rows: np.ndarray, batch_size: int) -> np.ndarray:
        """What `of_descriptor` makes of the descriptors of `rows`, float32 of shape (n, D)."""
        sample = keras.Input(self.inputs.shape)
        model = keras.Model(sample, of_descriptor(self.describe(sample)))
        if not len(rows):  # which Keras cannot predict
            return np.empty((0, *model.output.shape[1:]), np.float32)
        batches = evaluation_batches(self.inputs, self.dataset.labels, rows, None, batch_size)
        with user_errors():
            return model.predict(batches, verbose=0)


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
    citations = "\n".join(filter(None, (dataset.citation, reference.citation)))
    if citations:
        (folder / "citation.bib").write_text(citations)
    config = settle_precision(config, dataset, folder)
    begin(config)
    parts = Parts(*build_parts(config, lambda shape: _features(config, shape, 1)))
    reference_config = dataclasses.replace(config, data=config.reference)
    sources = (
        _source(config, dataset, parts), _source(reference_config, reference, parts)
    )
    frozen = [model.get_weights() for model in (parts.backbone, parts.descriptor)]
    records = {}
    for target in chosen:
        parts.backbone.set_weights(frozen[0])  # the target before may have tuned them
        parts.descriptor.set_weights(frozen[1])
        parts.backbone.trainable, parts.descriptor.trainable = False, True
        work = folder if len(chosen) == 1 else folder / "targets" / _file_name(target)
        work.mkdir(parents=True, exist_ok=True)
        records[target.name] = _learn(config, target, sources, parts, work)
    if len(chosen) > 1:
        _join_predictions(folder, [folder / "targets" / _file_name(t) for t in chosen])
    results = _summary(records) | {
        "classes": records,
        "descriptor_size": parts.descriptor.output.shape[-1],
        "precision": config.trainer.precision.value,
        "seconds": round(time.perf_counter() - started, 3),
    }
    run_folder.write_json(folder / "metrics.json", results)
    return results


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


def _source(config: Config, dataset: Dataset, parts: Parts) -> Source:
    _, inputs, describe = head_inputs(config, dataset, parts)
    return Source(dataset, inputs, describe)


def _features(config: Config, shape: tuple[int, ...], rank: int) -> keras.Model:
    """Descriptor to feature: standardised, then adapted."""
    standardized = build_embedding(config.head, shape, config.seed)
    adapted = LowRankAdapter(rank, name="adapter")(standardized.output)
    return keras.Model(standardized.input, adapted, name="features")


def _learn(
    config: Config, target: Target, sources: tuple[Source, Source], parts: Parts, folder: Path
) -> dict:
    """Trains, scores and records one target, unless its folder holds its record already."""
    finished = folder / "target.json"
    if finished.exists():
        return json.loads(finished.read_text())
    print(f"\ntarget {target.name}: {target.described()}", flush=True)
    started = time.perf_counter()
    keras.utils.set_random_seed(config.seed)
    own, reference = sources
    batch_size = config.trainer.batch_size
    rows = np.concatenate([target.templates, target.test, target.aliens])

    def raw(source: Source, rows: np.ndarray) -> np.ndarray:
        return source.vectors(keras.layers.Identity(), rows, batch_size)

    frozen = raw(own, rows), raw(reference, target.reference_aliens)
    features = _start(config, target, sources, parts, raw(own, target.train))
    parts = Parts(parts.backbone, parts.descriptor, features)
    classifier = keras.layers.Dense(
        len(reference.dataset.class_names), name="classifier",
        kernel_initializer=keras.initializers.GlorotUniform(config.seed),
    )
    trainer = config.trainer
    stage = _stage(
        "head", config, target, sources, features, classifier, (trainer.epochs, 0),
        batch_size, config.optimizer.learning_rate,
    )
    stages = {"head": _fit(stage, config, target, reference.dataset, folder)}
    if trainer.fine_tune_epochs:
        parts.unfreeze()

        def describe(pictures):
            return parts.descriptor(parts.backbone(pictures))

        own, reference = sources = tuple(
            Source(source.dataset, PictureInputs(source.dataset.pictures, data), describe)
            for source, data in zip(sources, (config.data, config.reference), strict=True)
        )
        faster = (*features.trainable_variables, *classifier.trainable_variables)
        stage = _stage(
            "fine_tune", config, target, sources, features, classifier,
            (trainer.fine_tune_epochs, trainer.epochs), trainer.fine_tune_batch_size,
            config.optimizer.fine_tune_learning_rate, faster,
        )
        stages["fine_tune"] = _fit(stage, config, target, reference.dataset, folder)

    def learned_vectors(source: Source, rows: np.ndarray) -> np.ndarray:
        return source.vectors(features, rows, batch_size)

    learned = learned_vectors(own, rows), learned_vectors(reference, target.reference_aliens)
    run_folder.save_model(folder, parts.from_pictures)
    scores = {
        kind: _scores(config, target, np.concatenate(vectors))
        for kind, vectors in (("frozen", frozen), ("learned", learned))
    }
    truth = target.truth()
    record = {
        "val": _validation(config, target, learned_vectors, sources),
        "test": {"auroc": _auroc(truth, scores["learned"]["k_nn"]), "pictures": len(truth)},
        **{
            kind: {name: _auroc(truth, values) for name, values in of_kind.items()}
            for kind, of_kind in scores.items()
        },
        "stages": stages,
        "data": target.sizes(),
        "backbone_digest": weights_digest(parts.backbone),
        "seconds": round(time.perf_counter() - started, 3),
    }
    _write_predictions(folder / "predictions.csv", target, sources, scores)
    _draw_curves(folder, target, scores)
    run_folder.write_json(finished, record)
    return record


def _start(
    config: Config, target: Target, sources: tuple[Source, Source], parts: Parts,
    vectors: np.ndarray,
) -> keras.Model:
    """Descriptor to feature, before anything is learned: the descriptors' own geometry.

    Args:
        vectors: the descriptors to train on, of the target.
    """
    shape = parts.descriptor.output.shape[1:]
    rank = min(config.one_class.rank, len(vectors) - 1, *shape)
    features = _features(config, shape, rank)
    if config.head.standardize and not parts.descriptor.trainable_weights:
        reference = sources[1]
        # A variance of 1 for each dimension, where compactness is a mean over them.
        standardize(
            features, reference.describe, reference.inputs, target.reference_train,
            config.trainer.batch_size, variance=float(shape[0]),
        )
    set_directions(features.get_layer("adapter"), vectors)
    return features


def _stage(
    name: str, config: Config, target: Target, sources: tuple[Source, Source],
    features: keras.Model, classifier: keras.layers.Dense, epochs: tuple[int, int],
    batch_size: int, learning_rate: float, faster: tuple = (),
) -> Stage:
    """Two streams through one network: the reference's to logits, the target's to features."""
    own, reference = sources
    samples = [keras.Input(source.inputs.shape) for source in (reference, own)]
    logits = classifier(features(reference.describe(samples[0])))
    compact = features(own.describe(samples[1]))
    return Stage(
        name, keras.Model(samples, [logits, compact]), reference.inputs, *epochs, batch_size,
        learning_rate, compactness_objective(config.loss, len(reference.dataset.class_names)),
        faster, second=Stream(own.inputs, own.dataset.labels, target.train),
    )


def _fit(
    stage: Stage, config: Config, target: Target, reference: Dataset, folder: Path
) -> dict:
    """All epochs: no figure that may be looked at tells when target and aliens part best."""
    splits = {"train": target.reference_train, "val": target.reference_train[:0]}
    record = fit_stage(stage, dataclasses.replace(reference, splits=splits), config, folder)
    return record | {"chosen_by": "last epoch"}


def _scores(config: Config, target: Target, vectors: np.ndarray) -> dict[str, np.ndarray]:
    templates, tested = np.split(vectors, [len(target.templates)])
    return {
        name: scorer(templates, tested)
        for name, scorer in scorers(config.one_class, config.seed).items()
    }


def _validation(
    config: Config, target: Target, vectors: Callable, sources: tuple[Source, Source]
) -> dict | None:
    """Held-out pictures of the target against the reference's, which stand in for aliens."""
    if not len(target.val) or not len(target.reference_val):
        return None
    own, reference = sources
    k_nn = scorers(config.one_class, config.seed)["k_nn"]
    tested = [vectors(own, target.val), vectors(reference, target.reference_val)]
    scores = k_nn(vectors(own, target.templates), np.concatenate(tested))
    truth = np.arange(len(scores)) < len(target.val)
    return {"auroc": _auroc(truth, scores), "pictures": len(truth)}


def _auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(truth, scores))


def _summary(records: dict[str, dict]) -> dict:
    """Means over the targets, and standard deviations where there are several."""

    def over(statistic: Callable, group: str) -> dict[str, float]:
        names = next(iter(records.values()))[group]
        return {name: statistic([r[group][name] for r in records.values()]) for name in names}

    validated = all(record["val"] for record in records.values())
    results = {
        "val": over(statistics.fmean, "val") if validated else None,
        **{group: over(statistics.fmean, group) for group in ("test", "frozen", "learned")},
    }
    for figures_of_split in filter(None, (results["val"], results["test"])):
        figures_of_split["pictures"] = round(figures_of_split["pictures"])
    if len(records) > 1:
        results["std"] = {group: over(statistics.stdev, group) for group in ("frozen", "learned")}
    return results


def _write_predictions(
    path: Path, target: Target, sources: tuple[Source, Source], scores: Scores
) -> None:
    """One line a tested picture: its name, its class, and each score; larger is more like it."""
    own, reference = (source.dataset for source in sources)
    tested = [(own, row) for row in (*target.test, *target.aliens)]
    tested += [(reference, row) for row in target.reference_aliens]
    columns = [(kind, name) for kind in scores for name in scores[kind]]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["target", "picture", "label", *("/".join(names) for names in columns)])
        for i, (dataset, row) in enumerate(tested):
            label = dataset.class_names[dataset.labels[row]]
            values = [f"{scores[kind][name][i]:.6g}" for kind, name in columns]
            writer.writerow([target.name, dataset.pictures.name(row), label, *values])


def _join_predictions(folder: Path, parts: list[Path]) -> None:
    texts = [(part / "predictions.csv").read_text().splitlines(keepends=True) for part in parts]
    lines = [texts[0][0], *(line for text in texts for line in text[1:])]
    (folder / "predictions.csv").write_text("".join(lines))


def _draw_curves(folder: Path, target: Target, scores: Scores) -> None:
    picture = figures.roc_curves(target.truth(), scores, target.name)
    keras.utils.save_img(folder / "roc.png", picture, scale=False)
    with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default(step=0):
        tf.summary.image("test/roc", picture[None])


def _file_name(target: Target) -> str:
    return f"{target.label:03d}-" + re.sub(r"\W+", "_", target.name)
