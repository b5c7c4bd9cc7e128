"""The target, reference and alien images of one-class experiments."""

import dataclasses
from operator import attrgetter
from typing import Any

import numpy as np
from hydra.errors import HydraException

from conf.overrides import parse
from conf.schema import Config, OneClassConfig
from data.datasets import Dataset
from data.names import class_name
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
    shared, labels = share_images(config), class_labels(config.one_class, dataset.class_names)
    return [_target(config, dataset, reference, label, shared) for label in labels]


def share_images(config: Config) -> bool:
    """Returns whether the target's data set and the reference are the same one."""
    source = attrgetter("name", "path")
    return source(config.data) == source(config.reference)


def class_labels(config: OneClassConfig, names: list[str]) -> list[int]:
    """Returns the labels of the classes that `config.target` names."""
    if config.target == "all":
        return list(range(len(names)))
    classes = config.target if isinstance(config.target, list) else [config.target]
    if not classes:
        raise UserError("one_class.target=[]: give one class, a list of classes, or all")
    return list(dict.fromkeys(_label(each, names) for each in classes))


def _label(wanted: Any, names: list[str]) -> int:
    """The label of a class that is given by name or by number; a name is tried first.

    Hydra reads some names as numbers or Booleans: `1_000` as 1000, `true` as True. Such a value
    stands for each name that is read as this value.
    """
    matches = [label for label, name in enumerate(names) if _is_name(wanted, name)]
    if len(matches) > 1:
        same = " and ".join(names[label] for label in matches)
        raise UserError(
            f"one_class.target={wanted}: may be {same}; quote the name, as in "
            f"one_class.target='\"{names[matches[0]]}\"'"
        )
    if matches:
        return matches[0]
    if str(wanted).isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise UserError(
        f"one_class.target={wanted}: no such class; give one of the names {', '.join(names)}, or a "
        f"number from 0 to {len(names) - 1}"
    )


def _is_name(wanted: Any, name: str) -> bool:
    if isinstance(wanted, str):
        return class_name(wanted) == name
    try:
        [override] = parse([f"name={name}"])
    except HydraException:  # it is no value without quotes
        return False
    value = override.value()
    return type(value) is type(wanted) and value == wanted


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
