"""Which pictures are target, reference and alien."""

import dataclasses

import numpy as np

from conf.schema import Config, OneClassConfig
from data.datasets import Dataset
from errors import UserError


@dataclasses.dataclass(frozen=True)
class Target:
    """One class, and the pictures that its run reads: positions in its data set, or, where a name
    says so, in the reference."""

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
        """Of the tested pictures, in the order test, aliens, reference_aliens: is it the target?"""
        return np.arange(sum(map(len, self._tested()))) < len(self.test)

    def sizes(self) -> dict[str, int]:
        named = vars(self).items()
        return {name: len(indices) for name, indices in named if isinstance(indices, np.ndarray)}

    def described(self) -> str:
        return ", ".join(f"{size} {name}" for name, size in self.sizes().items())

    def _tested(self) -> tuple[np.ndarray, ...]:
        return self.test, self.aliens, self.reference_aliens


def targets(config: Config, dataset: Dataset, reference: Dataset) -> list[Target]:
    """The targets that `config.one_class.target` names, each with its pictures.

    Where the reference is the same data set, the target is taken out of it, and its classes are no
    aliens: the network has seen them.

    Raises:
        UserError: a class that does not exist; too few pictures of one, in either data set.
    """
    shared = (config.data.name, config.data.path) == (config.reference.name, config.reference.path)
    labels = _labels(config.one_class, dataset.class_names)
    return [_target(config, dataset, reference, label, shared) for label in labels]


def _labels(config: OneClassConfig, names: list[str]) -> list[int]:
    if config.target == "all":
        return list(range(len(names)))
    asked = config.target if isinstance(config.target, list) else [config.target]
    if not asked:
        raise UserError("one_class.target=[]: name a class, several, or all")
    return list(dict.fromkeys(_label(name, names) for name in asked))


def _label(asked: str | int, names: list[str]) -> int:
    if asked in names:
        return names.index(asked)
    if str(asked).isdecimal() and int(asked) < len(names):
        return int(asked)
    raise UserError(
        f"one_class.target={asked}: no such class; there are 0 to {len(names) - 1}, or by name "
        f"{', '.join(names)}"
    )


def _target(
    config: Config, dataset: Dataset, reference: Dataset, label: int, shared: bool
) -> Target:
    name = dataset.class_names[label]
    own = {
        split: indices[dataset.labels[indices] == label]
        for split, indices in dataset.splits.items()
    }
    if len(own["train"]) < 2 or not len(own["test"]):
        raise UserError(
            f"one_class.target={name}: has {len(own['train'])} pictures to train on and "
            f"{len(own['test'])} to test; compactness takes at least two, and testing one"
        )
    seen = [label, *(map(dataset.class_names.index, reference.class_names) if shared else [])]
    tested = dataset.splits["test"]
    aliens = tested[~np.isin(dataset.labels[tested], seen)]
    others = {
        split: indices[reference.labels[indices] != label] if shared else indices
        for split, indices in reference.splits.items()
    }
    if len(np.unique(reference.labels[others["train"]])) < 2:
        raise UserError(
            f"one_class.target={name}: leaves the reference with one class; it takes at least two"
        )
    reference_aliens = others["test"] if config.one_class.reference_aliens else tested[:0]
    if not len(aliens) + len(reference_aliens):
        raise UserError(
            f"one_class.target={name}: the reference has all other classes, and none is alien; "
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
