"""From vectors of templates and tested pictures to scores, figures and files."""

import csv
import statistics
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from conf.schema import Config
from experiments.one_class.features import Sources
from experiments.one_class.scorers import scorers
from experiments.one_class.targets import Target
from reporting import plots
from reporting.summaries import log_image

Scores = dict[str, dict[str, np.ndarray]]  # of "frozen" and "learned" features, by each scorer


def scored(config: Config, target: Target, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Each scorer's scores of the tested pictures; `vectors` are those of `Sources.tested`."""
    templates, tested = np.split(vectors, [len(target.templates)])
    return {
        name: scorer(templates, tested)
        for name, scorer in scorers(config.one_class, config.seed).items()
    }


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(truth, scores))


def validation(config: Config, target: Target, sources: Sources, features: Callable) -> dict | None:
    """Held-out pictures of the target against the reference's, which stand in for aliens."""
    if not len(target.val) or not len(target.reference_val):
        return None
    k_nn, size = scorers(config.one_class, config.seed)["k_nn"], config.trainer.batch_size
    own = sources.own.vectors(target.val, size, features)
    others = sources.reference.vectors(target.reference_val, size, features)
    templates = sources.own.vectors(target.templates, size, features)
    scores = k_nn(templates, np.concatenate([own, others]))
    truth = np.arange(len(scores)) < len(own)
    return {"auroc": auroc(truth, scores), "pictures": len(truth)}


def over_targets(records: dict[str, dict]) -> dict:
    """Means over the targets, and standard deviations where there are several."""

    def over(statistic: Callable, group: str) -> dict[str, float]:
        names = next(iter(records.values()))[group]
        return {name: statistic([r[group][name] for r in records.values()]) for name in names}

    validated = all(record["val"] for record in records.values())
    results = {
        "val": over(statistics.fmean, "val") if validated else None,
        **{group: over(statistics.fmean, group) for group in ("test", "frozen", "learned")},
    }
    for metrics_of_split in filter(None, (results["val"], results["test"])):
        metrics_of_split["pictures"] = round(metrics_of_split["pictures"])
    if len(records) > 1:
        results["std"] = {group: over(statistics.stdev, group) for group in ("frozen", "learned")}
    return results


def write_predictions(path: Path, target: Target, sources: Sources, scores: Scores) -> None:
    """One line a tested picture: its name, its class, and each score; larger is more like it."""
    own, reference = sources.own.dataset, sources.reference.dataset
    tested = [(own, index) for index in (*target.test, *target.aliens)]
    tested += [(reference, index) for index in target.reference_aliens]
    columns = [(kind, name) for kind in scores for name in scores[kind]]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["target", "picture", "label", *("/".join(names) for names in columns)])
        for i, (dataset, index) in enumerate(tested):
            label = dataset.class_names[dataset.labels[index]]
            values = [f"{scores[kind][name][i]:.6g}" for kind, name in columns]
            writer.writerow([target.name, dataset.images.name(index), label, *values])


def join_predictions(folder: Path, parts: list[Path]) -> None:
    texts = [(part / "predictions.csv").read_text().splitlines(keepends=True) for part in parts]
    lines = [texts[0][0], *(line for text in texts for line in text[1:])]
    (folder / "predictions.csv").write_text("".join(lines))


def draw_curves(folder: Path, target: Target, scores: Scores) -> None:
    """Leaves the ROC curves as `roc.png` and in TensorBoard."""
    image = plots.roc_curves(target.truth(), scores, target.name)
    keras.utils.save_img(folder / "roc.png", image, scale=False)
    with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default(step=0):
        log_image(folder / "tensorboard", "test/roc", image, "PNG")
