"""Scores, metrics and files of the one-class experiment."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

import files
import run_folder
from conf.schema import Config
from event_file import EventFile
from experiments.one_class.features import Sources
from experiments.one_class.scorers import scorers
from experiments.one_class.targets import Target
from reporting import plots
from reporting.image_summary import image_pb, write_png
from reporting.rendering import drawn

Scores = dict[str, dict[str, np.ndarray]]  # by "frozen" or "learned" features, then by scorer


def scored(config: Config, target: Target, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Returns each scorer's scores of the test images.

    Args:
        config: the run's configuration.
        target: the target class with its templates.
        vectors: the vectors of templates and test images that `Sources.tested` returns.
    """
    templates, tested = np.split(vectors, [len(target.templates)])
    return {
        name: scorer(templates, tested)
        for name, scorer in scorers(config.one_class, config.seed).items()
    }


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(truth, scores))


def validation(config: Config, target: Target, sources: Sources, features: Callable) -> dict | None:
    """Returns the k-NN scorer's AUROC on held-out images of the target and of the reference.

    The reference's images stand in for aliens. Returns `None` if either has no held-out images.
    """
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
    """Returns means over the targets, and standard deviations if there are several targets."""

    def over(statistic: Callable, group: str) -> dict[str, float]:
        names = next(iter(records.values()))[group]
        return {name: statistic([r[group][name] for r in records.values()]) for name in names}

    validated = all(record["val"] for record in records.values())
    results: dict[str, Any] = {
        "val": over(statistics.fmean, "val") if validated else None,
        **{group: over(statistics.fmean, group) for group in ("test", "frozen", "learned")},
    }
    for metrics in filter(None, (results["val"], results["test"])):
        metrics["pictures"] = round(metrics["pictures"])
    if len(records) > 1:
        results["std"] = {group: over(statistics.stdev, group) for group in ("frozen", "learned")}
    return results


def write_predictions(path: Path, target: Target, sources: Sources, scores: Scores) -> None:
    """Writes a line for each test image: its name, its class, and its scores.

    A larger score means more similar to the target.
    """
    own, reference = sources.own.dataset, sources.reference.dataset
    tested = [(own, index) for index in (*target.test, *target.aliens)]
    tested += [(reference, index) for index in target.reference_aliens]
    columns = [(kind, name) for kind in scores for name in scores[kind]]
    lines = []
    for i, image in enumerate(tested):
        values = [f"{scores[kind][name][i]:.6g}" for kind, name in columns]
        lines.append([target.name, *run_folder.name_and_label(*image), *values])
    header = ["target", "picture", "label", *("/".join(names) for names in columns)]
    files.write_csv(path, header, lines)


def join_predictions(folder: Path, target_folders: list[Path]) -> None:
    """Joins the targets' `predictions.csv` into one in the run's folder."""
    texts = [
        (each / "predictions.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        for each in target_folders
    ]
    lines = [texts[0][0], *(line for text in texts for line in text[1:])]
    files.write_text(folder / "predictions.csv", "".join(lines))


def draw_curves(folder: Path, target: Target, scores: Scores) -> None:
    """Writes the ROC curves to `roc.png` and for TensorBoard."""
    image = drawn("ROC", lambda: plots.roc_curves(target.truth(), scores, target.name))
    if image is None:
        return
    write_png(folder / "roc.png", image)
    with EventFile(folder / "tensorboard") as events:
        events.write([image_pb("test/roc", image, "PNG")])
