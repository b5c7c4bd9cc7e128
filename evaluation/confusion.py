"""Which classes the images that are predicted as one class truly have."""

import collections
import dataclasses
from collections.abc import Sequence

SHOWN = 3  # classes in a sentence


@dataclasses.dataclass(frozen=True)
class Confusion:
    """The test images that are predicted as one class.

    Attributes:
        name: the predicted class.
        total: the number of these images.
        others: the classes of those that are wrong, with the number of images of each, most
            frequent first, equally frequent ones by name.
    """

    name: str
    total: int
    others: list[tuple[str, int]]

    @property
    def wrong(self) -> int:
        return sum(count for _, count in self.others)

    def sentence(self) -> str:
        """Returns it in words: "test images predicted as rose: 20, wrong: 3 (tulip 2, lily 1)"."""
        text = f"test images predicted as {self.name}: {self.total or 'none'}"
        if not self.total:
            return text
        if not self.others:
            return f"{text}, wrong: none"
        shown = [f"{name} {count}" for name, count in self.others[:SHOWN]]
        more = ["..."] if len(self.others) > SHOWN else []
        return f"{text}, wrong: {self.wrong} ({', '.join(shown + more)})"


def confusion_of(name: str, predictions: Sequence[tuple[str, str | None]]) -> Confusion:
    """Returns the confusion of the class `name`.

    Args:
        predictions: the true class and the predicted one of each test image; `None`: no class.
    """
    labels = collections.Counter(label for label, predicted in predictions if predicted == name)
    total = labels.total()
    del labels[name]
    return Confusion(name, total, sorted(labels.items(), key=lambda item: (-item[1], item[0])))
