"""Explanations: evidence, nearest training images and confusions of each prediction."""

import csv
import gc
import os
import shutil
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import COLOURS
from PIL import Image

import run_folder
from commands import explain, resuming, training_images
from commands.explain import Explanation, explain_images
from commands.predict import predict_images
from commands.training_images import TrainingImages
from conf.schema import Config, Task
from data.content import hash_images
from data.datasets import Dataset, open_dataset
from data.inputs import ArrayInputs, ImageInputs
from errors import UserError
from models.classifier import build_linear, complete
from models.embedding import build_unit_embedding
from models.heads import build_descriptor
from models.parts import Parts, StageInput
from models.saved_model import save_model
from training.feature_extraction import stored_features


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    """One random convolution: (B, 16, 16, 3) to (B, 8, 8, 8)."""
    images = keras.Input((16, 16, 3))
    convolution = keras.layers.Conv2D(
        8, 3, 2, "same", activation="relu", kernel_initializer=keras.initializers.HeNormal(0)
    )
    return keras.Model(
        images, convolution(keras.layers.Rescaling(1 / 255)(images)), name="backbone"
    )


@pytest.fixture
def make_run(tmp_path, own_folder, folder_config, backbone):
    """Writes a finished run on `own_folder`, whose classes are the colours of the images."""

    def make(*overrides: str) -> tuple[Path, Config, Dataset, Parts]:
        folder = tmp_path / "run"
        config = folder_config(
            own_folder,
            "head=average",
            f"trainer.feature_dir={tmp_path / 'features'}",
            *overrides,
        )
        resuming.enter(folder, config)
        retrieval = config.task is Task.metric_learning
        dataset = open_dataset(config.data, config.seed, disjoint_classes=retrieval)
        run_folder.write_data(folder, dataset)
        hash_images(dataset, dataset.indices)
        run_folder.write_content(folder, dataset)
        descriptor = build_descriptor(config.head, backbone.output.shape[1:], config.seed)
        size = descriptor.output.shape[1:]
        if retrieval:
            parts = Parts(
                backbone, descriptor, build_unit_embedding(config.head, size, config.seed)
            )
            save_model(folder, parts.network(StageInput.images))
            return folder, config, dataset, parts
        parts = Parts(backbone, descriptor, build_linear(config, size, len(dataset.class_names)))
        train = dataset.splits["train"]
        means_of_classes(parts, dataset, ImageInputs(dataset.images, config.data).evaluation(train))
        save_model(folder, complete(parts))
        test = dataset.labels[dataset.splits["test"]]
        run_folder.write_predictions(
            folder / "predictions.csv", dataset, "test", np.eye(3)[np.where(test == 0, 1, test)]
        )
        return folder, config, dataset, parts

    return make


def means_of_classes(parts: Parts, dataset: Dataset, images: np.ndarray) -> None:
    """Gives each class the direction from the mean of all training descriptors to its own."""
    labels = dataset.labels[dataset.splits["train"]]
    vectors = descriptors(parts, images)
    means = np.stack([vectors[labels == label].mean(axis=0) for label in range(3)])
    means -= vectors.mean(axis=0)
    kernel = (means / (means**2).sum(axis=1, keepdims=True)).T
    parts.linear.get_layer("classifier").set_weights(
        [5 * kernel, -5 * vectors.mean(axis=0) @ kernel]
    )


def descriptors(parts: Parts, images: np.ndarray) -> np.ndarray:
    return np.asarray(parts.describe(images.astype(np.float32), StageInput.images))


@pytest.fixture
def new_images(tmp_path, draw_images) -> list[Path]:
    """A red image, a damaged one and a blue one, in one folder."""
    paths = draw_images(tmp_path / "new", 3, (201, 60, 40))
    shutil.copy(draw_images(tmp_path / "other", 1, (40, 60, 201))[0], paths[2])
    paths[1].write_bytes(b"not an image")
    return paths


def explained(folder: Path, images: list[Path], output: Path, *settings: str) -> list[Explanation]:
    """The explanations of images that can be read."""
    results = list(explain_images(folder, images, output, list(settings)))
    assert [error for _, _, error in results] == [None] * len(results)
    return [explanation for _, explanation, _ in results]


def assert_plot(path: Path, tiles: int) -> None:
    with Image.open(path) as plot:
        assert plot.format == "PNG" and plot.width >= tiles * 180
        assert len(np.unique(np.asarray(plot))) > 10


def table(output: Path) -> list[dict[str, str]]:
    with (output / explain.TABLE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_with_a_damaged_image(make_run, new_images, tmp_path):
    folder, _, dataset, _ = make_run()
    results = list(explain_images(folder, [tmp_path / "new"], tmp_path / "out", []))
    assert [path for path, _, _ in results] == new_images
    (_, red, none), (_, nothing, error), (_, blue, _) = results
    assert none is None and nothing is None and "1.png cannot be decoded" in error
    assert [red.best[0][0], blue.best[0][0]] == ["red", "blue"]
    assert {neighbour.label for neighbour in red.nearest} == {"red"}
    assert {neighbour.label for neighbour in blue.nearest} == {"blue"}
    assert_plot(red.file, tiles=7)
    names = {red.file.name, blue.file.name}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"explanations.csv"}
    lines = table(tmp_path / "out")
    assert [line["explanation"] for line in lines] == [red.file.name, blue.file.name]
    assert [line["class"] for line in lines] == ["red", "blue"]
    assert lines[0]["nearest_5"] == red.nearest[4].name in set(dataset.keys()["train"])


def test_classes_and_probabilities_are_those_of_predict(make_run, new_images, tmp_path):
    folder, *_ = make_run()
    [explanation] = explained(folder, new_images[:1], tmp_path / "out")
    [(_, best, _)] = predict_images(folder, new_images[:1], top=3)
    assert [name for name, _ in explanation.best] == [name for name, _ in best]
    for (_, ours), (_, theirs) in zip(explanation.best, best, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("block_bytes", [2**29, 1])
def test_neighbours_are_the_most_similar_training_images(
    make_run, own_folder, tmp_path, monkeypatch, block_bytes
):
    monkeypatch.setattr(explain, "BLOCK_BYTES", block_bytes)  # all at once, or image by image
    folder, config, dataset, parts = make_run("head=bilinear")
    images = [own_folder / "red" / f"{number}.png" for number in range(3)]
    read = ImageInputs(dataset.images, config.data).evaluation
    train = dataset.splits["train"]
    ours = [dataset.keys()["train"][i] for i in range(len(train))]
    vectors = descriptors(parts, read(train)).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for image, explanation in zip(images, explained(folder, images, tmp_path / "out"), strict=True):
        key = image.relative_to(own_folder).as_posix()
        [index] = [i for i in dataset.indices if dataset.images.key(i) == key]
        query = descriptors(parts, read(np.array([index])))[0].astype(np.float64)
        similarities = vectors @ query / np.linalg.norm(query)
        expected = np.sort(similarities)[::-1][:5]
        assert [n.similarity for n in explanation.nearest] == pytest.approx(expected, abs=1e-5)
        for neighbour in explanation.nearest:
            own = similarities[ours.index(neighbour.name)]
            assert neighbour.similarity == pytest.approx(own, abs=1e-5)


def test_confusions_are_those_of_the_test_split(make_run, new_images, own_folder, tmp_path):
    folder, *_ = make_run()
    images = [own_folder / "green" / "0.png", new_images[0], new_images[2]]
    green, red, blue = explained(folder, images, tmp_path / "out")
    assert (green.confusion.total, green.confusion.others) == (4, [("blue", 2)])
    assert (red.confusion.total, red.confusion.others) == (2, [])
    assert blue.confusion.total == 0
    lines = table(tmp_path / "out")
    assert [line["test_predicted"] for line in lines] == ["4", "2", "0"]
    assert [line["test_wrong"] for line in lines] == ["2", "0", "0"]
    assert [line["test_wrong_true_class"] for line in lines] == ["blue", "", ""]
    assert [line["test_wrong_true_class_count"] for line in lines] == ["2", "0", "0"]


def test_without_predictions_of_the_test_split_one_line_says_so(
    make_run, new_images, tmp_path, capsys
):
    folder, *_ = make_run()
    (folder / "predictions.csv").write_text("another table\n")
    [explanation] = explained(folder, new_images[:1], tmp_path / "out")
    assert explanation.confusion is None and explanation.nearest
    assert "no confusions: " in capsys.readouterr().err


NAMES = [
    *("x.png", "x.jpg", "a\nb.png", "a b.png", "a_b.png", "caf\udce9.png", "caf\udcea.png"),
    *("$\\frac{a|b}$ 鳥.png", "鳥" * 80 + ".png", "鳥" * 79 + "a.png", "-rf %s <b>.png"),
]


@pytest.mark.slow
def test_files_of_any_images_are_apart_and_inside_the_folder(make_run, draw_images, tmp_path):
    folder, *_ = make_run()
    [image] = draw_images(tmp_path / "drawn", 1)
    images = [Path(shutil.copy(image, tmp_path / "drawn" / name)) for name in NAMES]
    images[1] = tmp_path / "drawn" / ".." / "drawn" / "x.jpg"
    before = set(tmp_path.rglob("*"))
    explanations = explained(folder, images, tmp_path / "out")
    files = {explanation.file for explanation in explanations}
    written = set(tmp_path.rglob("*")) - before - {tmp_path / "out"}
    assert len(files) == len(NAMES) and written == files | {tmp_path / "out" / explain.TABLE}
    for file in files:
        assert file.parent == tmp_path / "out" and file.name.isprintable()
        assert_plot(file, tiles=7)
    assert len(table(tmp_path / "out")) == len(NAMES)


@pytest.mark.slow
def test_an_image_has_the_same_file_in_each_call(make_run, new_images, tmp_path):
    folder, *_ = make_run()
    red, blue = new_images[0], new_images[2]
    [first] = explained(folder, [red, red], tmp_path / "out")
    again = explained(folder, [blue, red], tmp_path / "out")
    assert again[1].file == first.file != again[0].file


def test_images_of_any_mode(make_run, tmp_path):
    folder, *_ = make_run()
    grey = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    images = [tmp_path / f"{mode}.png" for mode in ("RGBA", "L", "P", "1")]
    for image in images:
        Image.fromarray(grey).convert(image.stem).save(image)
    images.append(tmp_path / "16 bits.png")
    Image.fromarray(grey.astype(np.uint16) * 256).save(images[-1])
    for explanation in explained(folder, images, tmp_path / "out"):
        assert_plot(explanation.file, tiles=7)


@pytest.mark.slow
def test_data_that_have_moved(make_run, new_images, own_folder, tmp_path, capsys):
    folder, *_ = make_run()
    [before] = explained(folder, new_images[:1], tmp_path / "out")
    own_folder.rename(tmp_path / "moved")
    [without] = explained(folder, new_images[:1], tmp_path / "out")
    errors = capsys.readouterr().err.splitlines()
    assert [line for line in errors if "no nearest images: " in line and "data.path=FOLDER" in line]
    assert without.nearest == [] and without.confusion == before.confusion
    assert_plot(without.file, tiles=2)
    assert table(tmp_path / "out")[0]["nearest_1"] == ""
    setting = f"data.path={tmp_path / 'moved'}"
    assert explained(folder, new_images[:1], tmp_path / "out", setting) == [before]


def test_other_data_are_not_taken_for_training_images(make_run, new_images, tmp_path, capsys):
    folder, *_ = make_run()
    for name in COLOURS:
        shutil.copytree(tmp_path / "other", tmp_path / "others" / name)
    setting = f"data.path={tmp_path / 'others'}"
    [explanation] = explained(folder, new_images[:1], tmp_path / "out", setting)
    assert explanation.nearest == []
    assert "none of the run's 18 training images is there" in capsys.readouterr().err


def test_training_images_that_are_gone_or_have_changed_are_left_out(
    make_run, new_images, own_folder, tmp_path, capsys
):
    folder, _, dataset, _ = make_run()
    names = [name for name in dataset.keys()["train"] if name.startswith("red")]
    (own_folder / names[0]).unlink()
    (own_folder / names[1]).write_bytes(b"not an image")
    [explanation] = explained(folder, new_images[:1], tmp_path / "out")
    assert "2 of the run's 18 training images are gone or have changed" in capsys.readouterr().err
    assert not {names[0], names[1]} & {neighbour.name for neighbour in explanation.nearest}


@pytest.mark.parametrize("overrides", [(), ("data.shots=2",)])
def test_features_are_read_from_a_complete_store(make_run, tmp_path, overrides):
    folder, config, dataset, parts = make_run(*overrides)
    query = np.eye(1, parts.descriptor.output.shape[-1], dtype=np.float32)
    computed = TrainingImages(folder, config, parts)
    assert type(computed.inputs) is ImageInputs and not (tmp_path / "features").exists()
    stored_features(config, dataset, parts.backbone)
    read = TrainingImages(folder, config, parts)
    assert type(read.inputs) is ArrayInputs
    for [ours], [theirs] in [(read.nearest(query, 5), computed.nearest(query, 5))]:
        assert [n.name for n in ours] == [n.name for n in theirs]
        assert [n.similarity for n in ours] == pytest.approx([n.similarity for n in theirs])


@pytest.mark.parametrize("head", ["compact_bilinear", "isqrt_cov"])
def test_heads_with_evidence(make_run, new_images, tmp_path, capsys, head):
    overrides = ["head.reduction=4"] if head == "isqrt_cov" else []
    folder, *_ = make_run(f"head={head}", *overrides)
    [explanation] = explained(folder, new_images[:1], tmp_path / "out")
    assert_plot(explanation.file, tiles=7)
    assert "no evidence" not in capsys.readouterr().err


def test_evidence_lies_where_the_colour_is(make_run, tmp_path, monkeypatch):
    """The left half of the image is red, the right half is green: both are where they count."""
    folder, *_ = make_run("head.l2=false")
    pixels = np.full((16, 16, 3), COLOURS["red"], np.uint8)
    pixels[:, 10:] = COLOURS["green"]
    Image.fromarray(pixels).save(tmp_path / "image.png")
    drawn = []
    monkeypatch.setattr(
        explain, "draw_explanation", lambda *arguments: drawn.append(arguments) or pixels
    )
    [explanation] = explained(folder, [tmp_path / "image.png"], tmp_path / "out")
    assert [name for name, _ in explanation.best[:2]] == ["red", "green"]
    [(_, _, image, _, evidence, _)] = drawn
    assert image.shape == (16, 16, 3) and evidence.shape == (8, 8)
    assert evidence[:, 1:4].mean() > evidence[:, 6:].mean()


@pytest.mark.parametrize("overrides", [
    ("head=log_euclidean",),
    ("head=moment_probing", "head.projection=16", "head.groups=2", "optimizer=adamw"),
])  # fmt: skip
def test_heads_without_evidence_say_so_and_give_the_rest(
    make_run, new_images, tmp_path, capsys, overrides
):
    folder, *_ = make_run(*overrides)
    [explanation] = explained(folder, new_images[:1], tmp_path / "out")
    assert capsys.readouterr().err.count("no evidence: it is not defined for head.pooling=") == 1
    assert len(explanation.nearest) == 5 and explanation.confusion is not None
    assert_plot(explanation.file, tiles=6)


def test_an_embedding_has_neighbours_only(
    make_run, new_images, own_folder, draw_images, tmp_path, capsys
):
    for number in range(3):  # the classes of training are not those of the test split
        draw_images(own_folder / f"grey {number}", 4, (80 * number,) * 3)
    folder, _, dataset, _ = make_run(
        "task=metric_learning", "loss=triplet_semi_hard", "head.embedding=8",
        "trainer.classes_per_batch=2", "trainer.pictures_per_class=2",
        "data.val_fraction=0", "data.test_fraction=0.34",
    )  # fmt: skip
    [explanation] = explained(folder, new_images[:1], tmp_path / "out")
    assert "an embedding predicts no classes" in capsys.readouterr().err
    assert explanation.best == [] and explanation.confusion is None
    assert {n.name for n in explanation.nearest} <= set(dataset.keys()["train"])
    assert_plot(explanation.file, tiles=6)
    assert table(tmp_path / "out")[0]["class"] == ""


def test_a_model_of_another_structure(finished_run, new_images, tmp_path):
    with pytest.raises(UserError, match="joined its parts in another way"):
        explained(finished_run, new_images[:1], tmp_path / "out")


def test_mistakes_are_errors_before_the_work(make_run, new_images, tmp_path):
    folder, *_ = make_run()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"writing failed .* --explain FOLDER"):
        explained(folder, new_images[:1], tmp_path / "file" / "out")
    with pytest.raises(UserError, match="image_size"):
        explained(folder, new_images[:1], tmp_path / "out", "data.image_size=8")
    with pytest.raises(UserError, match="no such file"):
        explained(folder, [tmp_path / "nowhere"], tmp_path / "out")
    assert not os.path.exists(tmp_path / "out")


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("table", [None, b"", b"picture,label\r\n", b"\x00\xff", "folder"])
def test_a_folder_of_other_files_is_refused(make_run, new_images, own_folder, table):
    folder, *_ = make_run()
    if table == "folder":
        (own_folder / explain.TABLE).mkdir()
    elif table is not None:
        (own_folder / explain.TABLE).write_bytes(table)
    before = tree(own_folder)
    with pytest.raises(UserError, match=r"--explain .*: holds files, .* after the images"):
        explained(folder, new_images[:1], own_folder)
    assert tree(own_folder) == before


@pytest.mark.slow
def test_an_empty_folder_and_that_of_an_earlier_call_are_taken(make_run, new_images, tmp_path):
    folder, *_ = make_run()
    (tmp_path / "out").mkdir()
    for image in (new_images[0], new_images[2]):
        explained(folder, [image], tmp_path / "out")
    assert [line["picture"] for line in table(tmp_path / "out")] == [str(new_images[2])]


@pytest.mark.parametrize(("images", "output"), [
    ("pictures", "pictures"),
    ("pictures", "pictures/out/new"),
    ("pictures/red", "pictures/red/../red/out"),
    ("link", "pictures/out"),
    ("pictures", "link/out"),
    ("linked", "pictures"),
])  # fmt: skip
def test_plots_are_never_among_the_images(make_run, own_folder, tmp_path, images, output):
    folder, *_ = make_run()
    (tmp_path / "link").symlink_to(own_folder)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "red").symlink_to(own_folder / "red")
    before = tree(own_folder)
    with pytest.raises(UserError, match=r"--explain .*: (lies in|contains images) .* after the im"):
        explained(folder, [tmp_path / images], tmp_path / output)
    assert tree(own_folder) == before


def test_plots_are_not_explained_into_their_own_folder(make_run, new_images, tmp_path):
    folder, *_ = make_run()
    [explanation] = explained(folder, new_images[:1], tmp_path / "out")
    with pytest.raises(UserError, match="contains images that are to be explained"):
        explained(folder, [explanation.file], tmp_path / "out")
    with pytest.raises(UserError, match="lies in"):
        explained(folder, [tmp_path / "out"], tmp_path / "out")


@pytest.mark.parametrize("block_bytes", [2**29, 1])
def test_an_interrupted_call_leaves_a_table_of_what_it_has_explained(
    make_run, new_images, own_folder, tmp_path, monkeypatch, block_bytes
):
    monkeypatch.setattr(explain, "BLOCK_BYTES", block_bytes)
    folder, *_ = make_run()
    explained(folder, new_images[:1], tmp_path / "out")
    explanations = explain_images(folder, [own_folder], tmp_path / "out", [])
    names = [next(explanations)[1].file.name for _ in range(3)]
    with pytest.raises(KeyboardInterrupt):
        explanations.throw(KeyboardInterrupt)
    assert [line["explanation"] for line in table(tmp_path / "out")] == names


def test_before_the_first_explanation_the_table_of_an_earlier_call_remains(
    make_run, new_images, tmp_path, monkeypatch
):
    folder, *_ = make_run()
    explained(folder, new_images[:1], tmp_path / "out")
    before = tree(tmp_path / "out")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    for module, name in [(explain, "draw_explanation"), (training_images, "hash_images")]:
        monkeypatch.setattr(module, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            explained(folder, new_images[2:], tmp_path / "out")
        assert tree(tmp_path / "out") == before


def test_a_call_without_a_readable_image_leaves_a_table_without_lines(
    make_run, new_images, tmp_path
):
    folder, *_ = make_run()
    explained(folder, new_images[:1], tmp_path / "out")
    list(explain_images(folder, new_images[1:2], tmp_path / "out", []))
    assert table(tmp_path / "out") == []


def test_the_output_is_checked_before_images_are_hashed(
    make_run, new_images, tmp_path, monkeypatch
):
    folder, *_ = make_run()
    (tmp_path / "file").touch()
    monkeypatch.setattr(training_images, "hash_images", lambda *_: pytest.fail("hashed"))
    with pytest.raises(UserError, match="writing failed"):
        explained(folder, new_images[:1], tmp_path / "file" / "out")


@pytest.mark.slow
def test_no_explanation_is_kept(make_run, own_folder, tmp_path):
    folder, *_ = make_run()
    explanations = explain_images(folder, [own_folder / "red"], tmp_path / "out", [])
    first = weakref.ref(next(explanations)[1])
    next(explanations)
    gc.collect()
    assert first() is None
