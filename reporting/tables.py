"""Tables for the terminal."""

from pathlib import Path

from conf.schema import PRIMARY_METRIC

SHORT = {  # names for a column; the others are their figures' own
    "top5_accuracy": "top-5",
    "recall_at_1": "R@1",
    "recall_at_2": "R@2",
    "recall_at_4": "R@4",
    "recall_at_8": "R@8",
    "map_at_r": "MAP@R",
    "nmi": "NMI",
    "k_nn": "k-NN",
    "one_class_svm": "SVM",
    "isolation_forest": "forest",
    "gaussian_mixture": "GMM",
}


def table(header: list[str], rows: list[list[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def primary_metric(metrics: dict) -> str:
    """The name of the figure that tells the most among `figures`, whatever task they are of."""
    return next(name for name in PRIMARY_METRIC.values() if name in metrics)


def metrics_table(named: dict[str, dict | None]) -> str:
    """The figures of each split or stage, which are of one task; `None` where there are none."""
    names = next(list(metrics) for metrics in named.values() if metrics is not None)
    header = ["", *(SHORT.get(name, name.replace("_", " ")) for name in names)]
    return table(header, [[name, *_cells(metrics, names)] for name, metrics in named.items()])


def final_table(task, results: dict, folder: Path) -> str:
    """What a run found, where it lies, and how to look at it."""
    if "classes" in results:
        return f"\n{one_class_table(results)}\n\n{_where(folder)}"
    if "variants" in results:
        return f"\n{post_mortem_table(results)}\n\nfolder     {folder}"
    stages = results["stages"]
    named = {
        f"val, stage {number} ({name.replace('_', ' ')})": record["val"]
        for number, (name, record) in enumerate(stages.items(), 1)
    }
    if "untrained" in results:
        named["test, untrained descriptors"] = results["untrained"]
    last = list(stages.values())[-1]
    return "\n".join(
        [
            "",
            metrics_table(named | {"test": results["test"]}),
            "",
            f"epoch      {last['chosen_epoch']}, chosen by {last['chosen_by']}",
            _where(folder),
        ]
    )


def one_class_table(results: dict) -> str:
    """AUROC of each target, in frozen and learned features by each scorer; several, their mean."""
    columns = [(kind, name) for kind in ("frozen", "learned") for name in results[kind]]
    rows = [
        [name, *(f"{record[kind][scorer]:.3f}" for kind, scorer in columns)]
        for name, record in results["classes"].items()
    ]
    for name, source in (("mean", results), ("std", results.get("std"))):
        if len(rows) > 1 and source:
            rows.append([name, *(f"{source[kind][scorer]:.3f}" for kind, scorer in columns)])
    return table(["AUROC", *(f"{kind} {SHORT[name]}" for kind, name in columns)], rows)


def post_mortem_table(results: dict) -> str:
    """Accuracy of each variant of the head, and the seconds that one step of its training takes."""
    rows = [
        [
            name,
            *(
                "-" if record[split] is None else f"{record[split]['accuracy']:.4f}"
                for split in ("val", "test")
            ),
            f"{record['step_seconds']:.3f}",
        ]
        for name, record in results["variants"].items()
    ]
    return table(["head", "val accuracy", "test accuracy", "s/step"], rows)


def _where(folder: Path) -> str:
    return f"folder     {folder}\ncurves     tensorboard --logdir {folder}"


def _cells(metrics: dict | None, names: list[str]) -> list[str]:
    if metrics is None:
        return ["-"] * len(names)
    numbers = (metrics[name] for name in names)
    return [str(number) if isinstance(number, int) else f"{number:.4f}" for number in numbers]
