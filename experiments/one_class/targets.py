"""The target, reference and alien images of one-class experiments."""

import dataclasses
from operator import attrgetter

import numpy as np

from conf.schema import Config, OneClassConfig
from data.datasets import Dataset
from errors import UserError


@dataclasses.dataclass(frozen=True)
class Target:
    """One class and the indices of the images that its experiment reads.

    The `reference_` arrays are indices into the reference data set, the others into the target's.
    """

    name: str
    label: int
    train: np.ndarray
    templates: np.ndarray
    val: np.ndarray
    test: np.ndarray
    aliens: np.ndarray
    reference_train: np.ndarray
    reference_val: np.ndarray
    reference_aliens: np.ndarray

    def truth(self) -> np.ndarray:
        """Whether each of test, aliens and reference_aliens, in this order, shows the target."""
        aliens = len(self.aliens) + len(self.reference_aliens)
        return np.repeat([True, False], [len(self.test), aliens])

    def sizes(self) -> dict[str, int]:
        """The number of images of each kind."""
        fields = vars(self).items()
        return {name: len(indices) for name, indices in fields if isinstance(indices, np.ndarray)}

    def summary(self) -> str:
        return ", ".join(f"{size} {name}" for name, size in self.sizes().items())


def targets(config: Config, dataset: Dataset, reference: Dataset) -> list[Target]:
    """Returns the targets that `config.one_class.target` names, with their images.

    If both data sets are the same one, the target is removed from the reference, and the other
    classes of the reference are not aliens, because the network has seen them.

    Raises:
        UserError: a class does not exist, or one has too few images in either data set.
    """
    source = attrgetter("name", "path")
    shared = source(config.data) == source(config.reference)
    labels = _labels(config.one_class, dataset.class_names)
    return [_target(config, dataset, reference, label, shared) for label in labels]


def _labels(config: OneClassConfig, names: list[str]) -> list[int]:
    if config.target == "all":
        return list(range(len(names)))
    classes = config.target if isinstance(config.target, list) else [config.target]
    if not classes:
        raise UserError("one_class.target=[]: give one class, a list of classes, or all")
    return list(dict.fromkeys(_label(each, names) for each in classes))


def _label(name_or_label: str | int, names: list[str]) -> int:
    if name_or_label in names:
        return names.index(name_or_label)
    if str(name_or_label).isdecimal() and int(name_or_label) < len(names):
        return int(name_or_label)
    raise UserError(
        f"one_class.target={name_or_label}: no such class; give a number from 0 to "
        f"{len(names) - 1} or one of the names {', '.join(names)}"
    )


def _target(
    config: Config, dataset: Dataset, reference: Dataset, label: int, shared: bool
) -> Target:
    name = dataset.class_names[label]
    own = {k: indices[dataset.labels[indices] == label] for k, indices in dataset.splits.items()}
    if len(own["train"]) < 2 or not len(own["test"]):
        raise UserError(
            f"one_class.target={name}: has {len(own['train'])} training images and "
            f"{len(own['test'])} test images; it needs at least two and one"
        )
    seen = [label, *(map(dataset.class_names.index, reference.class_names) if shared else [])]
    test = dataset.splits["test"]
    aliens = test[~np.isin(dataset.labels[test], seen)]
    others = reference.splits
    if shared:
        others = {k: indices[reference.labels[indices] != label] for k, indices in others.items()}
    if len(np.unique(reference.labels[others["train"]])) < 2:
        raise UserError(
            f"one_class.target={name}: leaves the reference with one class; it needs at least two"
        )
    reference_aliens = others["test"] if config.one_class.reference_aliens else test[:0]
    if not len(aliens) + len(reference_aliens):
        raise UserError(
            f"one_class.target={name}: the reference contains all other classes, so none is alien; "
            "lower reference.limit_classes or set one_class.reference_aliens=true"
        )
    order = np.random.default_rng([config.seed, label]).permutation(own["train"])
    return Target(
        name,
        label,
        own["train"],
        np.sort(order[: config.one_class.templates]),
        own["val"],
        own["test"],
        aliens,
        others["train"],
        others["val"],
        reference_aliens,
    )
