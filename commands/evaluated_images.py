"""Chooses the images on which a run is evaluated: its own splits decide, wherever they lie."""

import dataclasses
from operator import attrgetter
from pathlib import Path

import numpy as np

import run_folder
from conf.schema import Config, DataConfig, Task
from data.content import hash_images
from data.datasets import Dataset, open_dataset
from data.known_images import KnownImages, known_images
from errors import UserError

# The values of `data` that leave images out.
filters = attrgetter("skip_damaged", "limit_classes")


@dataclasses.dataclass(frozen=True)
class Choice:
    """The images to evaluate.

    Attributes:
        split: "train", "val", "test", "all" or "new".
        indices: sorted, int64.
        of_run: whether they are chosen by the run's own splits.
        notes: what a user has to know about the choice; empty for a whole split of the run in the
            run's own data.
    """

    split: str
    indices: np.ndarray
    of_run: bool
    notes: list[str]


def choose_images(
    folder: Path, own: DataConfig, config: Config, dataset: Dataset, split: str | None
) -> Choice:
    """Chooses the images of a split; see `evaluate_run` for the meaning of `split`.

    Args:
        folder: the run's folder.
        own: the configuration of the run's data.
        config: the configuration with the changes of the command line.
        dataset: all images that may be evaluated.
        split: a split, "all", "new" or `None`.

    Raises:
        UserError: the data are the run's own and lack images of the split, the split is empty, or
            it cannot be drawn.
    """
    stored, content = run_folder.read_splits(folder), run_folder.read_content(folder)
    in_place = _place(own) == _place(config.data)
    if content:
        hash_images(dataset, _to_hash(dataset, stored, split or "test", in_place))
    known = known_images(dataset, stored, content)
    if split == "new":
        choice = Choice(split, known.new, True, [])
    elif in_place:
        choice = _of_run(known, stored, split or "test", own)
        gone = [key for name in _names(stored, choice.split) for key in known.missing[name]]
        if gone and filters(own) == filters(config.data):
            raise UserError(
                f"{dataset.name}: {len(gone)} of the {len(gone) + len(choice.indices)} images of "
                f"the run's {choice.split} split are gone or have changed, such as {gone[0]}; "
                "restore them, or choose other data, data.path=FOLDER"
            )
    elif split != "all" and len(known.splits.get(split or "test", ())):
        choice = _of_run(known, stored, split or "test", own)
    else:
        choice = _of_data(known, config, dataset, split)
    if known.changed:
        choice.notes.append(
            f"{known.changed} images have the name of an image of the run and other content: "
            "they count as new"
        )
    if not content and not in_place:
        choice.notes.append("images are recognised by name only: the run has no content hashes")
    if not len(choice.indices):
        raise UserError("; ".join([f"the {choice.split} split is empty", *choice.notes]))
    return choice


def _names(stored: dict[str, list[str]], split: str) -> list[str]:
    return list(stored) if split == "all" else [split]


def _of_run(
    known: KnownImages, stored: dict[str, list[str]], split: str, own: DataConfig
) -> Choice:
    """Chooses the images that the run's split had, or that all its splits had."""
    names = _names(stored, split)
    indices = np.sort(np.concatenate([known.splits[name] for name in names]))
    total, notes = sum(len(stored[name]) for name in names), []
    if len(indices) < total:
        notes.append(f"only {len(indices)} of the {total} images of the run's {split} are there")
    if len(known.new):
        since = "were added after the run" if own.limit is None else "the run did not have"
        notes.append(f"{len(known.new)} images that {since} are ignored; --split new reads them")
    return Choice(split, indices, True, notes)


def _of_data(known: KnownImages, config: Config, dataset: Dataset, split: str | None) -> Choice:
    """Chooses images of a split that the data themselves have; "test" and "all" without those that
    the run has trained on."""
    name, notes = split or "all", []
    if name == "all":
        indices = dataset.indices
    else:
        indices = np.intersect1d(_split_of_data(config, dataset, name), dataset.indices)
    trained = np.intersect1d(indices, known.trained) if name in ("test", "all") else indices[:0]
    indices = np.setdiff1d(indices, trained)
    if split is None:
        notes.append(f"no image of the run's test split is there: all {len(indices)} are evaluated")
    elif split != "all":
        notes.append(f"no image of the run's {split} split is there: it is that of the data")
    if len(trained):
        notes.append(f"{len(trained)} images that the run has trained on are left out")
    return Choice(name, indices, False, notes)


def _split_of_data(config: Config, dataset: Dataset, split: str) -> np.ndarray:
    """Returns a split that the data define, or draws it as for training."""
    retrieval = config.task is Task.metric_learning
    if split in dataset.splits and split != "train" and not retrieval:
        return dataset.splits[split]
    try:
        return open_dataset(config.data, config.seed, disjoint_classes=retrieval).splits[split]
    except UserError as error:
        raise UserError(f"{error}; or give --split all, which divides nothing") from error


def _place(data: DataConfig) -> tuple[str | Path | None, ...]:
    return data.name, *(
        None if path is None else Path(path).resolve() for path in (data.path, data.root)
    )


def _to_hash(
    dataset: Dataset, stored: dict[str, list[str]], split: str, in_place: bool
) -> np.ndarray:
    """Returns the images whose content matters: in the run's own data not the other splits."""
    if not in_place or split not in stored:
        return dataset.indices
    others = {key for name, keys in stored.items() if name != split for key in keys}
    return np.array([i for i in dataset.indices if dataset.images.key(i) not in others], np.int64)
