"""Official releases, on small copies: splits, labels, boxes, hierarchies, errors."""

import io
import re
import shutil

import numpy as np
import pytest
from made_releases import BANNER, BOX, COLOURS, MADE, SIZE, cells, make_cars_all
from PIL import Image
from scipy.io import loadmat, savemat

from conf.schema import DataConfig, Region
from data.content import hash_images
from data.datasets import open_all_images, open_dataset
from data.decoding import evaluation_view
from data.releases.oxford_flowers102 import NAMES
from data.releases.registry import RELEASES
from errors import UserError

# The keys of the images of the official validation and test splits; all others are for training.
SPLITS = {
    "cub200": ("never", r"_0001_\d\.jpg"),
    "nabirds": ("never", r"/00000001"),
    "cars_kit": ("never", r"^cars_test/0000[123]\.jpg"),
    "cars_nested": ("never", r"^cars_test/cars_test/0000[123]\.jpg"),
    "cars_all": ("never", r"/00000[159]\.jpg"),
    "cars_class_folders": ("never", r"^car_data/car_data/test/"),
    "fgvc_aircraft": (r"images/1\d00000", r"images/2\d00000"),
    "stanford_dogs": ("never", r"_3\.jpg"),
    "oxford_flowers102": (r"_0000[123]\.jpg", r"_0001[012]\.jpg"),
    "oxford_iiit_pet": ("never", r"_103\.jpg"),
    "food101": ("never", r"/(3|1003|2003)\.jpg"),
    "inaturalist2021": ("never", r"^val/"),
    "inaturalist2021_mini": ("never", r"^val/"),
}
CARS = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo 2012"]
CLASSES = {
    "cub200": ["001.Black_footed_Albatross", "002.Laysan_Albatross", "200.Common_Yellowthroat"],
    "nabirds": [
        "Common Eider (Adult male)",
        "Common Eider (Female/juvenile)",
        "Yellow-rumped Warbler (Breeding Myrtle)",
    ],
    **{name: CARS for name in MADE if name.startswith("cars_")},
    "fgvc_aircraft": ["737-700", "737-800", "F/A-18"],
    "stanford_dogs": [
        "n02085620-Chihuahua",
        "n02085782-Japanese_spaniel",
        "n02085936-Maltese_dog",
    ],
    "oxford_flowers102": ["pink primrose", "hard-leaved pocket orchid", "canterbury bells"],
    "oxford_iiit_pet": ["Abyssinian", "american_bulldog", "shiba_inu"],
    "food101": ["apple_pie", "baby_back_ribs", "waffles"],
    "inaturalist2021": ["Morus bassanus", "Morus alba", "Sula sula"],
    "inaturalist2021_mini": ["Morus bassanus", "Morus alba", "Sula sula"],
}
INATURALIST = {
    "genus": ["Morus (Sulidae)", "Morus (Moraceae)", "Sula"],
    "family": ["Sulidae", "Moraceae", "Sulidae"],
    "order": ["Suliformes", "Rosales", "Suliformes"],
    "taxonomic_class": ["Aves", "Magnoliopsida", "Aves"],
    "phylum": ["Chordata", "Tracheophyta", "Chordata"],
    "kingdom": ["Animalia", "Plantae", "Animalia"],
}
LEVELS = {
    "nabirds": {
        "species": ["Common Eider", "Common Eider", "Yellow-rumped Warbler"],
        "family": ["Ducks, Geese, and Swans", "Ducks, Geese, and Swans", "Wood-Warblers"],
        "order": ["Ducks, Geese, and Swans", "Ducks, Geese, and Swans", "Perching Birds"],
    },
    "fgvc_aircraft": {
        "family": ["Boeing 737", "Boeing 737", "F/A-18"],
        "manufacturer": ["Boeing", "Boeing", "McDonnell Douglas"],
    },
    "oxford_iiit_pet": {"species": ["cat", "dog", "dog"]},
    "inaturalist2021": INATURALIST,
    "inaturalist2021_mini": INATURALIST,
}
WITHOUT_BOXES = {"oxford_flowers102", "oxford_iiit_pet", "food101"} | {
    name for name in MADE if name.startswith("inaturalist")
}
WITH_BOXES = [name for name in MADE if name not in WITHOUT_BOXES]
LISTS = {
    "cub200": (
        "images.txt",
        "image_class_labels.txt",
        "train_test_split.txt",
        "bounding_boxes.txt",
        "classes.txt",
    ),
    "cars_kit": (
        "devkit/cars_train_annos.mat",
        "devkit/cars_meta.mat",
        "cars_test_annos_withlabels.mat",
    ),
    "cars_nested": (
        "car_devkit/devkit/cars_train_annos.mat",
        "car_devkit/devkit/cars_meta.mat",
        "cars_test_annos_withlabels.mat",
    ),
    "cars_all": ("cars_annos.mat",),
    "cars_class_folders": ("names.csv", "anno_train.csv", "anno_test.csv"),
    "fgvc_aircraft": (
        "data/variants.txt",
        "data/families.txt",
        "data/manufacturers.txt",
        "data/images_box.txt",
        *(
            f"data/images_{level}_{split}.txt"
            for level in ("variant", "family", "manufacturer")
            for split in ("train", "val", "test")
        ),
    ),
    "stanford_dogs": ("train_list.mat", "test_list.mat"),
    "oxford_flowers102": ("imagelabels.mat", "setid.mat"),
    "oxford_iiit_pet": (
        "annotations/list.txt",
        "annotations/trainval.txt",
        "annotations/test.txt",
    ),
    "food101": ("meta/classes.txt", "meta/train.txt", "meta/test.txt"),
    "inaturalist2021": ("train.json", "val.json"),
    "inaturalist2021_mini": ("train_mini.json", "val.json"),
}
LISTS["nabirds"] = (*LISTS["cub200"], "hierarchy.txt")
EVERY_LIST = [(made, file) for made in MADE for file in LISTS[made]]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Makes each release once; not to be changed."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = MADE[name][1](tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.fixture
def release(originals, tmp_path):
    """Copies a release, to be changed."""
    return lambda name: shutil.copytree(originals(name), tmp_path / "release")


def config(made: str, path, **options) -> DataConfig:
    return DataConfig(name=MADE[made][0], path=str(path), **options)


def error(made: str, path, **options) -> str:
    """The one line that opening a release raises."""
    with pytest.raises(UserError) as caught:
        open_dataset(config(made, path, **options), 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def decoded(images, index: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(images.encoded(index))).convert("RGB"), int)


@pytest.mark.parametrize("made", MADE)
def test_the_official_splits_to_the_image(made, originals):
    dataset = open_all_images(config(made, originals(made)))
    val, test = SPLITS[made]
    keys = dataset.keys()
    assert sum(map(len, keys.values())) == 12 and len(keys["test"]) == 3
    assert all(re.search(test, key) for key in keys["test"])
    assert all(re.search(val, key) for key in keys.get("val", []))
    assert not any(re.search(f"{val}|{test}", key) for key in keys["train"])
    assert ("val" in keys) == (val != "never")
    assert dataset.citation.startswith("@")


@pytest.mark.parametrize("made", MADE)
def test_the_classes_in_official_order_and_the_label_of_each_image(made, originals):
    dataset = open_all_images(config(made, originals(made)))
    assert dataset.class_names == CLASSES[made]
    left, top, right, bottom = map(int, BOX)
    for index in dataset.indices:
        object_pixels = decoded(dataset.images, index)[top:bottom, left:right]
        distances = np.abs(object_pixels.mean((0, 1)) - COLOURS).sum(1)
        assert distances.argmin() == dataset.labels[index], dataset.images.name(index)


@pytest.mark.parametrize("made", MADE)
def test_the_hierarchy_from_the_finest_level_to_the_coarsest(made, originals):
    levels = open_dataset(config(made, originals(made)), 0).levels
    expected = LEVELS.get(made, {})
    assert levels == expected and list(levels) == list(expected)


@pytest.mark.parametrize("made", WITH_BOXES)
def test_boxes_are_cut_out(made, originals):
    options = config(made, originals(made), crop=Region.box, box_margin=0.0, crop_ratio=1.0)
    images = open_dataset(options, 0).images
    for index in range(12):
        assert images.box(index) == BOX
        view = evaluation_view(images.encoded(index), "", options, images.box(index))
        assert np.abs(view - np.array(COLOURS[images.labels[index]])).mean((0, 1)).max() < 12


@pytest.mark.parametrize("made", sorted(WITHOUT_BOXES))
def test_releases_without_boxes_say_so(made, originals):
    assert "has no boxes; set data.crop=image" in error(made, originals(made), crop=Region.box)


@pytest.mark.parametrize("made", MADE)
def test_the_parent_folder_is_accepted(made, originals, tmp_path):
    """Archives unpack into a folder of their own."""
    whole = open_all_images(config(made, originals(made))).keys()
    for folder in RELEASES[MADE[made][0]].folders:
        if folder.endswith("data"):  # FGVC-Aircraft: the folder in the release's own folder
            folder = folder.removesuffix("data")
        shutil.copytree(originals(made), tmp_path / "parent" / folder, dirs_exist_ok=True)
        (tmp_path / "parent" / "another data set").mkdir(exist_ok=True)
        assert open_all_images(config(made, tmp_path / "parent")).keys() == whole
        shutil.rmtree(tmp_path / "parent")


def test_the_birds_lie_side_by_side(originals, tmp_path):
    shutil.copytree(originals("cub200"), tmp_path / "CUB_200_2011")
    shutil.copytree(originals("nabirds"), tmp_path / "nabirds")
    for made in ("cub200", "nabirds"):
        assert open_all_images(config(made, tmp_path)).class_names == CLASSES[made]
    assert "it is NABirds; data=nabirds reads it" in error("cub200", tmp_path / "nabirds")


def test_the_folder_with_the_lists_of_aircraft_is_accepted(originals):
    root = originals("fgvc_aircraft")
    names = open_all_images(config("fgvc_aircraft", root / "data")).class_names
    assert names == CLASSES["fgvc_aircraft"]


def test_the_banner_of_aircraft_is_cut_off(originals):
    images = open_all_images(config("fgvc_aircraft", originals("fgvc_aircraft"))).images
    for index in range(12):
        pixels = decoded(images, index)
        assert pixels.shape == (*SIZE[::-1], 3)
        assert np.abs(pixels[:-8] - BANNER).sum(2).min() > 100


def test_a_damaged_image_of_an_aircraft_is_left_out_or_named(release):
    root = release("fgvc_aircraft")
    (root / "data/images/0000001.jpg").write_bytes(b"no image")
    dataset = open_dataset(config("fgvc_aircraft", root, skip_damaged=True), 0)
    assert dataset.damaged == ("images/0000001.jpg",)
    whole = open_dataset(config("fgvc_aircraft", root), 0)
    with pytest.raises(UserError, match=r"images/0000001\.jpg cannot be decoded"):
        hash_images(whole, whole.indices)


def test_the_names_of_the_flowers_are_those_of_tfds():
    tfds = pytest.importorskip("tensorflow_datasets")
    assert tfds.builder("oxford_flowers102").info.features["label"].names == NAMES


def test_one_kind_of_the_lists_of_dishes_is_enough(release):
    root = release("food101")
    whole = open_all_images(config("food101", root)).keys()
    for other in ("json", "txt"):
        for split in ("train", "test"):
            (root / f"meta/{split}.{other}").rename(root / f"meta/{split}.{other}.away")
        assert open_all_images(config("food101", root)).keys() == whole
        for split in ("train", "test"):
            (root / f"meta/{split}.{other}.away").rename(root / f"meta/{split}.{other}")


def test_the_training_list_whose_images_are_there(originals, release):
    """Both lists may be there, and the images of one of them."""
    root = release("inaturalist2021_mini")
    shutil.copy(originals("inaturalist2021") / "train.json", root)
    keys = open_all_images(config("inaturalist2021", root)).keys()
    assert all(key.startswith("train_mini/") for key in keys["train"])


def test_names_that_stand_for_several_classes_get_their_numbers(release):
    root = release("nabirds")
    edit(
        root / "classes.txt", "296 Common Eider (Female/juvenile)", "296 Common Eider (Adult male)"
    )
    assert open_all_images(config("nabirds", root)).class_names[:2] == [
        "Common Eider (Adult male) (295)",
        "Common Eider (Adult male) (296)",
    ]


# Missing, truncated and contradictory files


@pytest.mark.parametrize(("made", "file"), EVERY_LIST)
def test_a_list_that_is_missing_is_named(made, file, release):
    root = release(made)
    for path in root.glob(f"{file[:-3]}*" if made == "food101" else file):  # both kinds of lists
        path.unlink()
    message = error(made, root)
    assert file.rpartition("/")[2] in message and str(root) in message


@pytest.mark.parametrize(("made", "file"), EVERY_LIST)
@pytest.mark.parametrize("part", [0.0, 0.5, 0.75])
def test_a_list_that_is_truncated_is_noticed(made, file, part, release):
    root = release(made)
    content = (root / file).read_bytes()
    (root / file).write_bytes(content[: int(part * len(content))])
    assert str(root) in error(made, root)


def edit(file, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("made", "file", "old", "new", "message"),
    [
        ("cub200", "images.txt", "1 001", "13 001", "labels.txt: it lacks 13, which images.txt"),
        ("cub200", "images.txt", "_0000_1", "_0009_1", "images.txt, line 1: there is no file"),
        ("cub200", "images.txt", "2 001", "1 001", "line 2: 1 is .*_0001_1.jpg, but .* line 1"),
        ("cub200", "image_class_labels.txt", "1 1\n", "1 2\n", "image 1 is of 002.Laysan_Alba"),
        (
            "cub200",
            "image_class_labels.txt",
            "1 1\n",
            "1 4\n",
            "classes.txt: it lacks 4, which image_cl",
        ),
        ("cub200", "image_class_labels.txt", "1 1\n", "1\n", "line 1: '1' lacks its second cell"),
        ("cub200", "train_test_split.txt", "1 1\n", "1 2\n", "line 1: split 2 is not in 0 .test"),
        ("cub200", "train_test_split.txt", "1 1\n", "", "split.txt: it lacks 1, which images.txt"),
        ("cub200", "bounding_boxes.txt", "24.0 16", "0.0 16", "line 1: the box 8 8 8 24 has no a"),
        ("cub200", "bounding_boxes.txt", "8.0 8.0 24", "8.0 24", "line 1: expected 4 numbers"),
        ("cub200", "bounding_boxes.txt", "8.0 8.0", "x 8.0", "expected 4 numbers instead of 'x 8"),
        (
            "cub200",
            "classes.txt",
            "3 200.",
            "3 200.C\n4 200.",
            "image_class_labels.txt: it lacks 4, which classes.txt",
        ),
        ("cub200", "classes.txt", "2 002.L", "2 002.M", "image 5 is of 002.Maysan.* has 002.Lays"),
        ("nabirds", "hierarchy.txt", "200 1\n", "", "it lacks class 200 of classes.txt"),
        ("nabirds", "hierarchy.txt", "200 1\n", "200 7\n", "class 7 is not in classes.txt"),
        ("nabirds", "hierarchy.txt", "200 1\n", "200 295\n", "class 295 is a group of its own"),
        ("nabirds", "hierarchy.txt", "295 200\n", "295 0\n", "class 295 .* belongs to no group"),
        ("nabirds", "classes.txt", "90 Wood-Warblers\n", "", "class 90 is not in classes.txt"),
        ("nabirds", "image_class_labels.txt", " 295\n", " 296\n", "has 0295/0000000021dc"),
        ("cars_class_folders", "names.csv", "smart", "Smart", "there is no file .*Smart fortwo"),
        ("cars_class_folders", "names.csv", "smart fortwo 2012", CARS[0], "stands in line 1 too"),
        ("cars_class_folders", "anno_train.csv", ",1\n", ",2\n", "no file .*/train/Ram C-V"),
        ("cars_class_folders", "anno_train.csv", ",1\n", ",4\n", "class 4 is not in names.csv"),
        ("cars_class_folders", "anno_train.csv", ",1\n", "\n", "it has 5 cells instead of 6"),
        ("cars_class_folders", "anno_test.csv", ",9,9,", ",9,x,", "its box is not four numbers"),
        (
            "cars_class_folders",
            "anno_test.csv",
            "00001.jpg,9,9,32,24,1\n",
            "",
            "anno_test.csv: it lacks .*AM General Hummer SUV 2000/00001.jpg .1 images are lacking",
        ),
        ("fgvc_aircraft", "data/variants.txt", "F/A-18", "F-18", "variant F/A-18 is not in var"),
        ("fgvc_aircraft", "data/variants.txt", "F/A-18", "F/A-18\nA380", "it lacks A380, which"),
        ("fgvc_aircraft", "data/families.txt", "Boeing 737", "Boeing", "family Boeing 737 is not"),
        ("fgvc_aircraft", "data/manufacturers.txt", "Boeing", "B", "manufacturer Boeing is not in"),
        ("fgvc_aircraft", "data/images_box.txt", "2000000 9", "2 9", "it lacks 2000000, which im"),
        ("fgvc_aircraft", "data/images_box.txt", "9 9 32", "9 9 8", "the box 8 8 8 24 has no are"),
        (
            "fgvc_aircraft",
            "data/images_family_val.txt",
            "1000000 Boeing 737",
            "1000000 F/A-18",
            "class 737-700 belongs to F/A-18, but to Boeing 737 in",
        ),
        (
            "fgvc_aircraft",
            "data/images_variant_test.txt",
            "2000000",
            "0000000",
            "it lacks 0000000, which images_variant_test.txt has",
        ),
        (
            "oxford_iiit_pet",
            "annotations/trainval.txt",
            "Abyssinian_100 1 1 1",
            "Abyssinian_100 2 1 1",
            "trainval.txt, line 1: annotations/list.txt has no line 'Abyssinian_100 2 1 1'",
        ),
        (
            "oxford_iiit_pet",
            "annotations/list.txt",
            "shiba_inu_103 3",
            "shiba_inu_104 3",
            "test.txt, line 3: annotations/list.txt has no line",
        ),
        (
            "oxford_iiit_pet",
            "annotations/test.txt",
            "shiba_inu_103",
            "shiba_inu_102",
            "shiba_inu, test, dog, but shiba_inu, train, dog in",
        ),
        ("food101", "meta/train.txt", "apple_pie/0\n", "", "train.txt: it lacks apple_pie/0, whi"),
        ("food101", "meta/test.json", "apple_pie/3", "apple_pie/4", "test.txt: it lacks apple_pi"),
        ("food101", "meta/test.json", "apple_pie/3", "waffles/3", "waffles/3 is listed under app"),
        ("food101", "meta/classes.txt", "waffles", "wafers", "class waffles is not in meta/class"),
        ("food101", "meta/classes.txt", "waffles", "waffles\nzoo", "train.txt: it lacks zoo"),
        ("inaturalist2021", "train.json", '"Sula sula"', '"Sula"', "have different categories"),
        ("inaturalist2021", "val.json", '"Moraceae"', '"Rosaceae"', "have different categories"),
        (
            "inaturalist2021",
            "val.json",
            '"image_id": 100',
            '"image_id": 7',
            "val.json: image (7|100) is not both in its images",
        ),
        (
            "inaturalist2021",
            "val.json",
            '"category_id": 2',
            '"category_id": 3',
            "class 3 is not in its categories",
        ),
        ("inaturalist2021", "val.json", '"annotations"', '"labels"', "KeyError: 'annotations'"),
        ("inaturalist2021", "train.json", '"image_id": 1,', '"image_id": 2,', "an image twice"),
    ],
)
def test_a_list_that_contradicts_another_one(made, file, old, new, message, release):
    root = release(made)
    edit(root / file, old, new)
    assert re.search(message, error(made, root)), error(made, root)


def rewrite(file, change) -> None:
    """Changes the variables of a MATLAB file."""
    content = {name: each for name, each in loadmat(file).items() if name[0] != "_"}
    change(content)
    savemat(file, content)


def set_field(name: str, value):
    """Changes a field of the first struct."""

    def change(content):
        content["annotations"][0, 0][name] = value

    return change


def set_value(name: str, position, value):
    def change(content):
        content[name][position] = value

    return change


TRAIN_CARS, TEST_CARS = "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat"


@pytest.mark.parametrize(
    ("made", "file", "change", "message"),
    [
        ("cars_kit", TRAIN_CARS, set_field("class", 4), "annos.mat, image 1: class 4 is not in"),
        ("cars_kit", TRAIN_CARS, set_field("fname", "0.jpg"), "there is no file cars_train/0.jpg"),
        (
            "cars_kit",
            TRAIN_CARS,
            set_field("fname", "00002.jpg"),
            "2.jpg is Ram C/V.*but AM General",
        ),
        ("cars_kit", TEST_CARS, set_field("bbox_x2", 8), "image 1: the box 8 8 8 24 has no area"),
        ("cars_kit", TEST_CARS, set_field("bbox_x2", "x"), "its box is not four numbers"),
        ("cars_kit", TEST_CARS, lambda all_: all_.pop("annotations"), "no variable annotations"),
        (
            "cars_kit",
            "devkit/cars_meta.mat",
            lambda all_: all_.update(class_names=cells([[*CARS, "Tesla"]])),
            "class 4, Tesla, has no images",
        ),
        ("cars_all", "cars_annos.mat", set_field("class", 9), "cars_annos.mat, image 1: class 9"),
        ("stanford_dogs", "train_list.mat", set_value("labels", 0, 2), "class 2 is n.*Japanese"),
        (
            "stanford_dogs",
            "test_list.mat",
            set_value("file_list", 0, "n02085620-Chihuahua/n02085620_0.jpg"),
            "test_list.mat, image 1: .*n02085620-Chihuahua, test, but n02085620-Chihuahua, train",
        ),
        (
            "stanford_dogs",
            "test_list.mat",
            lambda all_: all_.update(labels=all_["labels"][1:]),
            "different lengths",
        ),
        (
            "oxford_flowers102",
            "setid.mat",
            set_value("tstid", (0, 0), 4),
            "image 4: .*is pink primrose, test, but pink primrose, train",
        ),
        ("oxford_flowers102", "setid.mat", set_value("tstid", (0, 0), 13), "not among the 12 of"),
        (
            "oxford_flowers102",
            "setid.mat",
            lambda all_: all_.update(tstid=all_["tstid"][:, :2]),
            "it has 11 of the 12 images of imagelabels.mat",
        ),
        ("oxford_flowers102", "imagelabels.mat", set_value("labels", (0, 3), 103), "class 103 is"),
        (
            "oxford_flowers102",
            "imagelabels.mat",
            lambda all_: all_.update(labels=all_["labels"] + 0.5),
            "values that are no integers",
        ),
    ],
)
def test_a_matlab_file_that_contradicts_another_one(made, file, change, message, release):
    root = release(made)
    rewrite(root / file, change)
    assert re.search(message, error(made, root)), error(made, root)


def test_test_labels_that_the_development_kit_lacks(release):
    """The kit itself has `cars_test_annos.mat`, without labels."""
    root = release("cars_kit")
    (root / TEST_CARS).rename(root / "devkit" / "cars_test_annos.mat")
    message = error("cars_kit", root)
    assert f"has no {TEST_CARS}; restore it from https://github.com/pytorch/vision" in message


def test_annotations_of_other_images_of_cars(release, tmp_path):
    """Kaggle has `cars_annos.mat` beside images that it does not list."""
    root = release("cars_kit")
    shutil.copy(make_cars_all(tmp_path / "all") / "cars_annos.mat", root)
    assert open_all_images(config("cars_kit", root)).class_names == CARS
    shutil.rmtree(root / "devkit")
    assert "has no cars_train_annos.mat, cars_meta.mat; restore it" in error("cars_kit", root)


@pytest.mark.parametrize("made", MADE)
def test_an_image_that_is_missing_is_named_with_its_line(made, release):
    root = release(made)
    images = sorted(root.rglob("*.jpg"))
    images[5].unlink()
    message = error(made, root)
    assert images[5].name in message and "there is no file" in message
    assert "(1 of 12 are missing); restore it, or set data.skip_damaged=true" in message
    assert len(open_all_images(config(made, root, skip_damaged=True)).indices) == 11


@pytest.mark.parametrize("damage", [b"", b"<annotation>", b"<annotation></annotation>", None])
def test_a_box_of_a_dog_that_cannot_be_read_is_named(damage, release):
    root = release("stanford_dogs")
    file = root / "Annotation" / "n02085620-Chihuahua" / "n02085620_2"
    file.unlink() if damage is None else file.write_bytes(damage)
    message = error("stanford_dogs", root, crop=Region.box)
    assert "n02085620_2" in message and "set data.crop=image" in message
    assert len(open_all_images(config("stanford_dogs", root)).indices) == 12


# Paths


@pytest.mark.parametrize("name", RELEASES)
def test_a_path_without_the_release_is_one_line(name, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    for path in (tmp_path, tmp_path / "photo.jpg"):
        with pytest.raises(UserError) as caught:
            open_dataset(DataConfig(name=name, path=str(path)), 0)
        message = str(caught.value)
        assert f"{path}: there is no {RELEASES[name].title} (" in message
        assert "from http" in message and "\n" not in message


@pytest.mark.parametrize("name", ["nabirds", "inaturalist2021", "grocery_store"])
def test_a_release_that_tfds_has_not_needs_a_path(name, tmp_path):
    with pytest.raises(UserError, match=f"data.path=null: data={name} needs the place"):
        open_dataset(DataConfig(name=name), 0)
    with pytest.raises(UserError, match="there is no"):
        open_dataset(DataConfig(name=name, path=str(tmp_path / "nowhere")), 0)


def test_a_file_of_the_same_name_above_a_release_does_not_hide_it(release):
    made = release("cub200")
    root = made.rename(made.parent / "CUB_200_2011")
    (root.parent / "classes.txt").write_text("my own notes")
    assert RELEASES["cub200"].find(root.parent) == root


def test_cub_is_not_taken_for_nabirds(release):
    message = error("nabirds", release("cub200"))
    assert "has no hierarchy.txt; if it is CUB-200-2011, data=cub200 reads it" in message


def test_the_classes_can_be_the_groups_of_a_level(release):
    path = str(release("fgvc_aircraft"))
    opened = open_dataset(DataConfig(name="fgvc_aircraft", path=path, level="manufacturer"), 0)
    variants = open_dataset(DataConfig(name="fgvc_aircraft", path=path), 0)
    assert opened.class_names == sorted(set(variants.levels["manufacturer"]))
    assert opened.levels == {}
    for index in opened.indices:
        variant = variants.labels[index]
        name = variants.levels["manufacturer"][variant]
        assert opened.class_names[opened.labels[index]] == name
