"""Which images of a data set a run has had, and in which split."""

import unicodedata

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.datasets import Dataset
from data.known_images import known_images


class Listed:
    """Images of one class with these keys."""

    def __init__(self, keys: list[str]):
        self.keys, self.labels = keys, np.zeros(len(keys), np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        return self.keys[index]


def dataset(content: dict[str, str]) -> Dataset:
    """Images by key with their hash."""
    splits = {"train": np.arange(len(content))}
    return Dataset(
        "made", Listed(list(content)), ["one"], splits, "", hashes=dict(enumerate(content.values()))
    )


def run_of(content: dict[str, dict[str, str]]):
    """The stored splits and hashes of a run."""
    return {split: list(hashes) for split, hashes in content.items()}, content


RUN = {"train": {"a": "A", "b": "B"}, "val": {"c": "C"}, "test": {"d": "D", "e": "E"}}


def compare(content: dict[str, str], run=RUN, hashed: bool = True):
    splits, hashes = run_of(run)
    return known_images(dataset(content), splits, hashes if hashed else {})


def test_images_with_the_keys_of_the_run_keep_their_splits():
    known = compare({"e": "E", "a": "A", "new": "N", "c": "C"})
    assert {name: split.tolist() for name, split in known.splits.items()} == {
        "train": [1],
        "val": [3],
        "test": [0],
    }
    assert (known.trained.tolist(), known.new.tolist(), known.changed) == ([1, 3], [2], 0)
    assert known.missing == {"train": ["b"], "val": [], "test": ["d"]}


def test_the_content_decides_where_the_run_stored_it():
    renamed = {"a": "N", "x": "A", "d": "B", "y": "D"}
    known = compare(renamed)
    assert known.splits["train"].tolist() == [1, 2] and known.splits["test"].tolist() == [3]
    assert (known.new.tolist(), known.changed) == ([0], 1)
    older = compare(renamed, hashed=False)
    assert older.splits["train"].tolist() == [0] and older.splits["test"].tolist() == [2]
    assert older.new.tolist() == [1, 3]


def test_further_copies_of_trained_images_count_as_trained_and_not_as_the_run_s():
    known = compare({"a": "A", "copy": "A", "d": "D", "d2": "D"})
    assert known.splits["train"].tolist() == [0] and known.trained.tolist() == [0, 1]
    assert known.splits["test"].tolist() == [2] and known.new.tolist() == [3]


def test_copies_across_the_splits_of_the_run_stay_where_they_were():
    run = {"train": {"a": "A"}, "val": {}, "test": {"b": "A"}}
    assert compare({"a": "A", "b": "A"}, run).splits["test"].tolist() == [1]
    moved = compare({"x": "A", "y": "A"}, run)
    assert moved.splits["train"].tolist() == [0] and moved.splits["test"].tolist() == [1]
    assert compare({"x": "A"}, run).splits["test"].tolist() == []  # it may be the trained one


def test_keys_are_compared_in_one_unicode_form():
    composed, decomposed = (unicodedata.normalize(form, "ö") for form in ("NFC", "NFD"))
    run = {"train": {}, "val": {}, "test": {composed: "A"}}
    assert compare({decomposed: "A"}, run, hashed=False).splits["test"].tolist() == [0]


@given(
    st.lists(st.tuples(st.sampled_from(["train", "val", "test", None]), st.integers(0, 9))),
    st.randoms(use_true_random=False),
)
def test_however_images_are_renamed_no_trained_content_is_tested_or_new(images, random):
    """Images of the run and new ones, as their split and content, under shuffled new names."""
    run = {
        split: {f"{i}": f"{content}" for i, (of, content) in enumerate(images) if of == split}
        for split in ("train", "val", "test")
    }
    names = random.sample(range(1000), len(images))
    known = compare({f"{n}": f"{c}" for n, (_, c) in zip(names, images, strict=True)}, run)
    trained = {f"{content}" for split, content in images if split in ("train", "val")}
    content = [f"{content}" for _, content in images]
    assert not trained & {content[index] for index in known.new}
    doubled = set(run["test"].values()) & trained  # in the run's test split itself
    assert {content[i] for i in known.splits["test"]} & trained <= doubled
    parts = [known.splits["test"], known.trained, known.new]
    assert sorted(np.concatenate(parts)) == list(range(len(images)))
