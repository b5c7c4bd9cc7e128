"""What a reader returns: images with labels, and the splits that the data set itself defines."""

import dataclasses
from typing import Protocol

import numpy as np

Splits = dict[str, np.ndarray]  # sorted indices by the name of the split
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the upright image


class ImageSource(Protocol):
    """Encoded images at random access; several threads may read at once.

    `name` is for people; `key` identifies an image among all images of the data set, and is known
    without reading the image. `fingerprint` changes when an image changes. `box` encloses the
    object; it is `None` if the data set has no boxes.
    """

    labels: np.ndarray  # int64 of shape (len(self),)

    def __len__(self) -> int: ...
    def name(self, index: int) -> str: ...
    def key(self, index: int) -> str: ...
    def box(self, index: int) -> Box | None: ...
    def encoded(self, index: int) -> bytes: ...
    def fingerprint(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Collection:
    """The images of a data set, before missing splits are drawn.

    Attributes:
        images: all images.
        class_names: in the order of the labels.
        splits: some of "train", "val" and "test".
        levels: the coarser classes, from the finest level to the coarsest. For each level, such as
            "coarse", the name of the group of each class, in the order of `class_names`. Default:
            no levels.
        citation: BibTeX. Default: empty.
    """

    images: ImageSource
    class_names: list[str]
    splits: Splits
    levels: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    citation: str = ""
