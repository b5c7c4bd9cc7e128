"""The text of an inspection of data: counts, sizes, damaged images and duplicates."""

from collections import Counter

import numpy as np

from data.inspection import Inspection, Pair
from data.names import printable

SHOWN = 10  # damaged images, and pairs of each kind


def summary_text(inspection: Inspection, warning: str = "") -> str:
    """Describes an inspection in a few dozen lines.

    Args:
        inspection: of a data set.
        warning: why `train.py` would refuse the data. Default: empty.
    """
    dataset = inspection.dataset
    lines = [dataset.summary(), ""]
    if warning:
        lines = [dataset.summary(), f"train.py refuses these data: {warning}", ""]
    lines += [f"{split + ':':12}{text}" for split, text in split_lines(inspection).items()]
    lines += [f"{name + ':':12}{text}" for name, text in size_lines(inspection).items()]
    lines += ["", f"damaged images: {len(inspection.damaged)}"]
    lines += _some([f"  {line}" for line in damaged_lines(inspection)])
    for title, pairs in pairs_by_kind(inspection).items():
        lines += ["", pairs_title(title, pairs)]
        lines += _some([f"  {pair_line(inspection, pair)}" for pair in pairs[: SHOWN + 1]], pairs)
    return "\n".join(lines)


def split_lines(inspection: Inspection) -> dict[str, str]:
    """For each split: the number of images, and the smallest and the largest class."""
    dataset, lines = inspection.dataset, {}
    for split, counts in class_counts(inspection).items():
        text = f"{counts.sum():,} images"
        if counts.sum():
            least, most = int(counts.argmin()), int(counts.argmax())
            names = [printable(dataset.class_names[label]) for label in (least, most)]
            if counts[least] < counts[most]:
                text += f", {counts[least]:,} ({names[0]}) to {counts[most]:,} ({names[1]}) a class"
            else:
                text += f", {counts[most]:,} a class"
        if empty := np.count_nonzero(counts == 0):
            text += f"; {empty:,} of {len(counts):,} classes have none"
        lines[split] = text
    return lines


def class_counts(inspection: Inspection) -> dict[str, np.ndarray]:
    """The number of images of each class in each split, the damaged ones included."""
    dataset = inspection.dataset
    return {
        split: np.bincount(dataset.labels[indices], minlength=len(dataset.class_names))
        for split, indices in dataset.splits.items()
    }


def size_lines(inspection: Inspection) -> dict[str, str]:
    """File formats, and the range of the sizes."""
    if not len(inspection.sizes):
        return {}
    width, height = inspection.sizes.T
    formats = Counter(inspection.formats).most_common()
    return {
        "formats": ", ".join(f"{count:,} {name}" for name, count in formats),
        "width": f"{_range(width, '{:.0f}')} pixels (smallest, median, largest)",
        "height": f"{_range(height, '{:.0f}')} pixels",
        "aspect": f"{_range(width / height, '{:.2f}')} (width / height)",
    }


def _range(values: np.ndarray, form: str) -> str:
    return ", ".join(form.format(function(values)) for function in (np.min, np.median, np.max))


def damaged_lines(inspection: Inspection) -> list[str]:
    """Name, split and reason of each damaged image."""
    name = inspection.dataset.images.name
    return [
        f"{printable(name(damaged.index))} ({damaged.split}): {damaged.reason}"
        for damaged in inspection.damaged
    ]


def pairs_by_kind(inspection: Inspection) -> dict[str, list[Pair]]:
    """Exact copies and near-duplicates, across splits and within a split."""
    kinds = {"exact copies": inspection.copies, "near-duplicates": inspection.near_duplicates}
    return {
        f"{kind} {place}": [pair for pair in pairs if pair.across == across]
        for kind, pairs in kinds.items()
        for place, across in {"across splits": True, "within a split": False}.items()
    }


def pairs_title(kind: str, pairs: list[Pair]) -> str:
    """The number of pairs of a kind, and how many of them have different labels."""
    differing = sum(not pair.same_label for pair in pairs)
    labels = f", {differing:,} of them with different labels" if differing else ""
    return f"{kind}: {len(pairs):,}{labels}"


def pair_line(inspection: Inspection, pair: Pair) -> str:
    """Both images of a pair, and the correlation of near-duplicates."""
    images = [
        f"{image_name(inspection, index)} ({split})"
        for index, split in zip((pair.first, pair.second), pair.splits, strict=True)
    ]
    correlation = "" if pair.correlation is None else f"  {pair.correlation:.2f}"
    if not pair.same_label:
        images = [
            f"{text} labelled {class_name(inspection, index)}"
            for text, index in zip(images, (pair.first, pair.second), strict=True)
        ]
    return f"{images[0]} = {images[1]}{correlation}"


def image_name(inspection: Inspection, index: int) -> str:
    return printable(inspection.dataset.images.name(index))


def class_name(inspection: Inspection, index: int) -> str:
    """The name of an image's class."""
    dataset = inspection.dataset
    return printable(dataset.class_names[dataset.labels[index]])


def _some(lines: list[str], whole: list | None = None) -> list[str]:
    """The first lines, and how many there are besides."""
    total = len(lines if whole is None else whole)
    if total <= SHOWN:
        return lines
    return [*lines[:SHOWN], f"  and {total - SHOWN:,} more; the page shows more of them"]
