"""Content hashes and exact copies of images, in the runs of all tasks."""

import json
import shutil

import pytest
from conftest import COLOURS
from whole_runs import one_worker, run_steps

import run_folder
from data.collection import ImageSource
from data.content import content_hash
from data.image_folder import FolderImages
from errors import UserError
from experiments.classification import Classification
from training.distributed.workers import Workers

TASKS = {
    "classification": ("trainer.epochs=1",),
    "from images": ("trainer.epochs=1", "trainer.feature_store=false"),
    "metric learning": (
        "task=metric_learning",
        "loss=triplet_semi_hard",
        "head.embedding=4",
        "trainer.epochs=1",
    ),
    "one class": (
        "task=one_class",
        "one_class.target=red",
        "loss=compactness",
        "head=average",
        "data@reference=image_folder",
        "reference.image_size=32",
        "trainer.epochs=1",
    ),
}


@pytest.fixture
def divided(tmp_path, draw_images):
    """Four classes in three splits. A test image is a copy of a training image of its class, and
    another one of a training image of another class."""
    for shift, split in enumerate(("train", "val", "test")):
        for name, colour in (COLOURS | {"white": (200, 200, 200)}).items():
            draw_images(tmp_path / "own" / split / name, 4, [each + shift for each in colour])
    own = tmp_path / "own"
    shutil.copy(own / "train/red/1.png", own / "test/red/2.png")
    shutil.copy(own / "train/red/3.png", own / "test/white/0.png")
    return own


@pytest.fixture
def configured(divided, tmp_path, draw_images, folder_config):
    def config(task: str, *overrides: str):
        reference = tmp_path / "reference"
        if task == "one class":
            for shift, name in enumerate(("grey", "pink")):
                draw_images(reference / name, 5, (90 + 90 * shift, 90, 90))
            shutil.copy(divided / "test/red/0.png", reference / "grey" / "4.png")
            overrides = (*overrides, f"reference.path={reference}")
        features = f"trainer.feature_dir={tmp_path / 'features'}"
        return folder_config(divided, features, "data.image_size=32", *TASKS[task], *overrides)

    return config


def lines_about_copies(caplog) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    return [text for text in texts if "exact copies" in text]


@pytest.mark.parametrize(
    "task",
    [
        "classification",
        "from images",
        pytest.param("metric learning", marks=pytest.mark.slow),
        pytest.param("one class", marks=pytest.mark.slow),
    ],
)
def test_a_run_of_any_task_stores_hashes_and_reports_copies(
    configured, divided, tmp_path, caplog, task
):
    run = tmp_path / "run"
    run.mkdir()
    run_steps(configured(task), run)
    content = json.loads((run / "content.json").read_text())
    splits = json.loads((run / "splits.json").read_text())
    assert {split: list(hashes) for split, hashes in content.items()} == splits
    for hashes in content.values():
        for key, digest in hashes.items():
            assert digest == content_hash((divided / key).read_bytes())
    first, *others = lines_about_copies(caplog)
    assert "1 of an image with another label, such as " in first
    if task == "one class":
        assert (run / "reference_content.json").exists()
        assert others == [
            "image_folder: images that are exact copies: 1 of an image of the reference, such as "
            "test/red/0.png of grey/4.png"
        ]
    elif task != "metric learning":  # which divides the classes again
        example = "test/red/2.png (test) of train/red/1.png (train)"
        assert f"2 of an image in another split, such as {example}" in first


class ReadImages:
    """Counts the images that are read."""

    def __init__(self, monkeypatch):
        self.names: list[str] = []
        encoded = FolderImages.encoded

        def counted(images: ImageSource, index: int) -> bytes:
            self.names.append(images.name(index))
            return encoded(images, index)

        monkeypatch.setattr(FolderImages, "encoded", counted)


def first_stage(config, folder, workers) -> None:
    experiment = Classification(config, folder, workers)
    experiment.open_data()
    experiment.build_model()
    experiment.read_features()


@pytest.fixture
def prepare(configured, tmp_path):
    """Takes the steps of a run until its features are there; returns its folder."""

    def prepare(name: str, *overrides: str, workers: Workers):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        first_stage(configured("classification", *overrides), folder, workers)
        return folder

    return prepare


@pytest.fixture
def alone():
    return one_worker()


def test_no_image_is_read_twice_for_its_hash(prepare, alone, monkeypatch):
    read = ReadImages(monkeypatch)
    prepare("run", workers=alone)
    assert len(read.names) == len(set(read.names)) == 48


def test_copies_are_reported_when_the_features_were_stored_before(
    prepare, alone, caplog, monkeypatch
):
    prepare("first", workers=alone)
    [first] = lines_about_copies(caplog)
    caplog.clear()
    read = ReadImages(monkeypatch)
    folder = prepare("second", "seed=1", workers=alone)
    assert lines_about_copies(caplog) == [first] and read.names == []
    assert run_folder.read_content(folder).keys() == {"train", "val", "test"}


def remove(path) -> None:
    path.unlink()


def truncate(path) -> None:
    path.write_bytes(path.read_bytes()[:-33])


def change_a_digit(path) -> None:
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))


@pytest.mark.slow
def test_a_store_without_sound_hashes_stays_valid_and_gets_them(prepare, alone, caplog, tmp_path):
    before = prepare("first", workers=alone)
    [path] = (tmp_path / "features").glob("*/content-*.txt")
    shards = [shard.stat().st_mtime_ns for shard in path.parent.glob("*.bin")]
    whole = path.read_bytes()
    for damage in (remove, truncate, change_a_digit):
        damage(path)
        caplog.clear()
        after = prepare(damage.__name__, workers=alone)
        assert len(lines_about_copies(caplog)) == 1
        assert run_folder.read_content(after) == run_folder.read_content(before)
        [again] = path.parent.glob("content-*.txt")
        assert (again, again.read_bytes()) == (path, whole)
        assert [shard.stat().st_mtime_ns for shard in path.parent.glob("*.bin")] == shards


def test_only_the_chief_writes_and_reports(prepare, alone, caplog):
    folder = prepare("other", workers=Workers(alone.strategy, index=1))
    assert not (folder / "content.json").exists() and lines_about_copies(caplog) == []


def test_data_without_copies_are_not_mentioned(prepare, alone, caplog, divided):
    for copy in ("test/red/2.png", "test/white/0.png"):
        (divided / copy).unlink()
    prepare("run", workers=alone)
    assert lines_about_copies(caplog) == []


def test_a_run_does_not_resume_on_images_of_other_content(prepare, alone, divided, draw_images):
    prepare("run", workers=alone)
    draw_images(divided / "train" / "blue", 2, (45, 66, 200))
    with pytest.raises(UserError, match=r"content of 2 images changed .*such as train/blue/0\.png"):
        prepare("run", workers=alone)
