"""The HTML page of an inspection."""

import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from conf.schema import DataConfig
from data.datasets import Dataset
from data.inspection import Damaged, Inspection, inspect_images
from errors import UserError
from reporting import data_page

HOSTILE = """<script>alert("x")</script>'&\n"onerror=1"""


class MadeImages:
    """Images of noise in memory; `None` in place of an image is one that cannot be decoded."""

    def __init__(self, images, labels, names=None):
        self.images, self.labels = images, np.array(labels, np.int64)
        self.names = names or [f"{number}.png" for number in range(len(images))]

    def __len__(self):
        return len(self.images)

    def name(self, index):
        return self.names[index]

    key = name

    def box(self, index):
        return None

    def encoded(self, index):
        file = io.BytesIO()
        if self.images[index] is not None:
            Image.fromarray(self.images[index]).save(file, "PNG")
        return file.getvalue()

    def fingerprint(self):
        return ""


def noise(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return small.repeat(5, 0).repeat(6, 1)


def inspected(images, splits, class_names, names=None):
    indices = {split: np.array(members, np.int64) for split, members in splits.items()}
    dataset = Dataset("made", images, class_names, indices, "")
    return inspect_images(dataset, DataConfig("made"))


class Tags(HTMLParser):
    """Collects the tags of a page, with their attributes, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def images(self) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


@pytest.fixture(scope="module")
def page() -> str:
    """Two classes with a hostile name, a copy with another label, and a damaged image."""
    images = [noise(0), noise(1), noise(0), noise(2), noise(2)[:, ::-1], None]
    names = [f"{number}{HOSTILE}" for number in range(6)]
    made = MadeImages(images, [0, 0, 1, 1, 1, 1], names)
    splits = {"train": [0, 1, 3, 5], "val": [], "test": [2, 4]}
    return data_page.page(
        inspected(made, splits, ["a", f"b{HOSTILE}"]), DataConfig("made"), HOSTILE
    )


def test_names_are_text_and_nothing_else(page):
    parsed = Tags(page)
    assert {tag for tag, _ in parsed.tags} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "table", "tr",
        "th", "td", "ul", "li", "div", "span", "b", "br", "img",
    }  # fmt: skip
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert "alert(" in parsed.text and any("alert(" in image["alt"] for image in parsed.images())


def test_nothing_is_loaded(page):
    assert not re.search("https?:|url\\(|@import|<link|<base|<a ", page)
    sources = [image["src"] for image in Tags(page).images()]
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert not any("src" in attributes for tag, attributes in Tags(page).tags if tag != "img")


def test_pairs_stand_side_by_side_with_their_splits_and_labels(page):
    rest = page.split("<h2>Exact copies across splits: 1, 1 of them with different labels")[1]
    [pair] = re.findall('<div class="pair differing">.*?</p></div>', rest, re.DOTALL)
    parsed = Tags(pair)
    assert [image["alt"][0] for image in parsed.images()] == ["0", "2"]
    assert "train" in parsed.text and "test" in parsed.text and "the same file" in parsed.text
    assert "<h2>Near-duplicates across splits: 1</h2>" in rest


def test_the_images_of_the_contact_sheet_are_small_and_of_each_split(page):
    sheets = Tags(page.split("<h2>Classes</h2>")[1])
    assert [image["alt"][0] for image in sheets.images()] == ["0", "1", "3", "2", "4"]
    for image in sheets.images():
        assert len(image["src"]) < 4000
    assert "2 train, 0 val, 0 test" in sheets.text


def test_the_damaged_image_is_named_and_has_no_thumbnail(page):
    assert "Damaged images: 1" in page and page.count("5&lt;script&gt;") == 1


def test_the_limits_are_stated(monkeypatch):
    monkeypatch.setattr(data_page, "SHEET", 4)
    monkeypatch.setattr(data_page, "PAIRS", 2)
    made = MadeImages([noise(number // 2) for number in range(12)], np.arange(12) // 2)
    names = [f"class {number}" for number in range(6)]
    text = data_page.page(
        inspected(made, {"train": range(0, 12, 2), "test": range(1, 12, 2)}, names),
        DataConfig("made"),
    )
    assert "Counts of all classes, images of the first 2 of 6 classes." in text
    assert all(f"class {number}</span>" in text for number in range(6))
    assert text.count("1 train, 1 test") == 6
    assert "The first 2 of 6 pairs." in text
    assert len(Tags(text).images()) == 4 + 2 * 2 + 1


def test_classes_that_lack_images_in_a_split_leave_room_for_others(monkeypatch):
    monkeypatch.setattr(data_page, "SHEET", 8)
    made = MadeImages([noise(number) for number in range(16)], np.arange(16) // 4)
    names = [f"class {number}" for number in range(4)]
    splits = {"train": range(16), "val": [], "test": []}
    text = data_page.page(inspected(made, splits, names), DataConfig("made"))
    assert "images of the first" not in text
    assert len(Tags(text.split("<h2>Classes</h2>")[1]).images()) == 8


def test_each_class_of_nabirds_has_images_of_each_split(monkeypatch):
    monkeypatch.setattr(data_page, "_data_uris", lambda *arguments: dict.fromkeys(range(1665), ""))
    made = MadeImages([noise(0)] * 1665, np.repeat(np.arange(555), 3))
    names = [f"class {number}" for number in range(555)]
    splits = {
        split: np.arange(start, 1665, 3) for start, split in enumerate(["train", "val", "test"])
    }
    dataset = Dataset("made", made, names, splits, "")
    sizes = np.full((1665, 2), 40)
    inspection = Inspection(dataset, np.arange(1665), ["PNG"] * 1665, sizes, [], [], [])
    sheets = Tags(data_page.page(inspection, DataConfig("made")).split("<h2>Classes</h2>")[1])
    assert len(sheets.images()) == 1665


def test_an_image_that_was_left_out_and_can_be_read_is_not_compared():
    made = MadeImages([noise(0), noise(1), noise(0)], [0, 0, -1])
    indices = {"train": np.array([0, 1]), "test": np.array([], np.int64)}
    inspection = inspect_images(
        Dataset("made", made, ["a"], indices, "", ("2.png",)), DataConfig("made")
    )
    assert inspection.damaged == [Damaged(2, "left out", "it could not be decoded at first")]
    assert not inspection.copies and len(inspection.formats) == 2


def test_a_page_replaces_a_page_but_no_other_file(tmp_path):
    made = MadeImages([noise(0), noise(1)], [0, 1])
    inspection = inspected(made, {"train": [0, 1]}, ["a", "b"])
    for _ in range(2):
        data_page.check_page(tmp_path / "page.html")
        data_page.write_page(tmp_path / "page.html", inspection, DataConfig("made"))
    other = tmp_path / "other.html"
    other.write_text("<!DOCTYPE html>\n<p>mine")
    with pytest.raises(UserError, match="exists and is no page"):
        data_page.check_page(other)
    with pytest.raises(UserError, match="is a folder"):
        data_page.check_page(tmp_path)
