"""Small copies of the layouts in which data sets are released.

Most have three classes of four images. An image is grey, and its box has the colour of its class.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

GROCERY_STORE_CLASSES = """\
Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Iconic (str)
Royal-Gala,0,Apple,0,/iconic/Royal-Gala.jpg
Anjou,1,Pear,2,/iconic/Anjou.jpg
Pink-Lady,2,Apple,0,/iconic/Pink-Lady.jpg
"""
GROCERY_STORE_FOLDERS = {  # label, coarse label
    "Fruit/Apple/Royal-Gala": (0, 0),
    "Fruit/Pear/Anjou": (1, 2),
    "Fruit/Apple/Pink-Lady": (2, 0),
}
COLOURS = ((40, 60, 200), (40, 200, 60), (200, 60, 40), (200, 200, 40))
GREY, BANNER = (128, 128, 128), (250, 0, 250)
SIZE = (40, 32)  # width and height
BOX = (8.0, 8.0, 32.0, 24.0)  # left, top, right, bottom
BOX_XYWH = "8.0 8.0 24.0 16.0"
BOX_FROM_ONE = (9, 9, 32, 24)  # pixels count from 1, and the last ones are part of the box
CARS = ("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo 2012")
DOGS = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02085936-Maltese_dog")
TAXA = (  # kingdom, phylum, class, order, family, genus, epithet: two genera are called Morus
    ("Animalia", "Chordata", "Aves", "Suliformes", "Sulidae", "Morus", "bassanus"),
    ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Moraceae", "Morus", "alba"),
    ("Animalia", "Chordata", "Aves", "Suliformes", "Sulidae", "Sula", "sula"),
)
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "specific_epithet")


def make_grocery_store(root: Path, draw_images) -> Path:
    """Three classes in two coarse classes: 9 images to train, 2 to validate, 6 to test.

    The first class has no validation images.
    """
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        lines = []
        for folder, (label, coarse) in GROCERY_STORE_FOLDERS.items():
            if split == "val" and label == 0:
                continue
            draw_images(root / split / folder, count)
            paths = [f"{split}/{folder}/{number}.png" for number in range(count)]
            lines += [f"{path}, {label}, {coarse}\n" for path in paths]
        (root / f"{split}.txt").write_text("".join(lines))
    (root / "classes.csv").write_text(GROCERY_STORE_CLASSES)
    return root


def make_cub200(root: Path) -> Path:
    """The second image of each class is a test image."""
    names = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "200.Common_Yellowthroat")
    write(root / "classes.txt", (f"{key} {name}" for key, name in enumerate(names, 1)))
    files = [
        (label, f"{name}/{name[4:]}_{number:04d}_{label}.jpg")
        for label, name in enumerate(names, 1)
        for number in range(4)
    ]
    return _numbered_lists(root, {str(key): file for key, file in enumerate(files, 1)})


def make_nabirds(root: Path) -> Path:
    """Two classes of a species without a family, one of a species of perching birds."""
    classes = {
        "0": "Birds",
        "1": "Ducks, Geese, and Swans",
        "2": "Perching Birds",
        "90": "Wood-Warblers",
        "200": "Common Eider",
        "201": "Yellow-rumped Warbler",
        "295": "Common Eider (Adult male)",
        "296": "Common Eider (Female/juvenile)",
        "1010": "Yellow-rumped Warbler (Breeding Myrtle)",
    }
    parents = {"1": 0, "2": 0, "90": 2, "200": 1, "201": 90, "295": 200, "296": 200, "1010": 201}
    write(root / "classes.txt", (f"{key} {name}" for key, name in classes.items()))
    write(root / "hierarchy.txt", (f"{key} {parent}" for key, parent in parents.items()))
    files = {}
    for label in (295, 296, 1010):
        for number in range(4):
            key = f"{number:08x}-21dc-4d0c-bfe1-{label:012d}"
            files[key] = (label, f"{label:04d}/{key.replace('-', '')}.jpg")
    return _numbered_lists(root, files)


def _numbered_lists(root: Path, files: dict[str, tuple[int, str]]) -> Path:
    for label, path in files.values():
        draw(root / "images" / path, sorted({each for each, _ in files.values()}).index(label))
    write(root / "images.txt", (f"{key} {path}" for key, (_, path) in files.items()))
    write(root / "image_class_labels.txt", (f"{key} {label}" for key, (label, _) in files.items()))
    write(
        root / "train_test_split.txt",
        (f"{key} {int(number % 4 != 1)}" for number, key in enumerate(files)),
    )
    write(root / "bounding_boxes.txt", (f"{key} {BOX_XYWH}" for key in files))
    return root


def make_cars_kit(
    root: Path, kit: str = "devkit", nested: bool = False, names=CARS, counts=(3, 1)
) -> Path:
    """Writes the folder of the development kit, and the file of the test labels next to it.

    Args:
        root: where to write it.
        kit: the folder.
        nested: whether the folders of the images are nested, as on Kaggle.
        names: of the classes.
        counts: images of each class, to train and to test.
    """
    for split, count in zip(("train", "test"), counts, strict=True):
        folder = f"cars_{split}/cars_{split}" if nested else f"cars_{split}"
        structs = []
        for number in range(count * len(names)):
            label, file = number % len(names), f"{number + 1:05d}.jpg"
            draw(root / folder / file, label)
            structs.append((*BOX_FROM_ONE, label + 1, file))
        labelled = "_withlabels" if split == "test" else ""
        where = root if split == "test" else root / kit
        save_structs(where / f"cars_{split}_annos{labelled}.mat", structs, "class", "fname")
    save(root / kit / "cars_meta.mat", class_names=cells([names]))
    return root


def make_cars_nested(root: Path) -> Path:
    return make_cars_kit(root, "car_devkit/devkit", nested=True)


def make_cars_all(root: Path) -> Path:
    """All images in one folder, and one file of annotations."""
    structs = []
    for number in range(12):
        label, path = number // 4, f"car_ims/{number + 1:06d}.jpg"
        draw(root / path, label)
        structs.append((path, *BOX_FROM_ONE, label + 1, int(number % 4 == 0)))
    types = ("class", "test")
    save_structs(root / "cars_annos.mat", structs, *types, first="relative_im_path", names=CARS)
    return root


def make_cars_class_folders(root: Path) -> Path:
    """Class folders with CSV files, as on Kaggle."""
    write(root / "names.csv", CARS)
    for split, count in (("train", 9), ("test", 3)):
        lines = []
        for number in range(count):
            label, file = number % 3, f"{number + 1:05d}.jpg"
            folder = root / "car_data" / "car_data" / split / CARS[label].replace("/", "-")
            draw(folder / file, label)
            lines.append(",".join(map(str, (file, *BOX_FROM_ONE, label + 1))))
        write(root / f"anno_{split}.csv", lines)
    return root


def make_fgvc_aircraft(root: Path) -> Path:
    """Three variants of two families of one manufacturer, and a banner below each image."""
    data = root / "data"
    groups = {  # variant: family, manufacturer
        "737-700": ("Boeing 737", "Boeing"),
        "737-800": ("Boeing 737", "Boeing"),
        "F/A-18": ("F/A-18", "McDonnell Douglas"),
    }
    write(data / "variants.txt", groups)
    write(data / "families.txt", sorted({family for family, _ in groups.values()}))
    write(data / "manufacturers.txt", sorted({maker for _, maker in groups.values()}))
    boxes = []
    for number, (split, count) in enumerate((("train", 2), ("val", 1), ("test", 1))):
        lines: dict[str, list[str]] = {"variant": [], "family": [], "manufacturer": []}
        for label, (variant, (family, maker)) in enumerate(groups.items()):
            for each in range(count):
                name = f"{number}{label}{each:05d}"
                draw(data / "images" / f"{name}.jpg", label, banner=True)
                boxes.append(f"{name} {' '.join(map(str, BOX_FROM_ONE))}")
                for level, group in zip(lines, (variant, family, maker), strict=True):
                    lines[level].append(f"{name} {group}")
        for level in lines:
            write(data / f"images_{level}_{split}.txt", lines[level])
    write(data / "images_box.txt", boxes)
    return root


def make_stanford_dogs(root: Path) -> Path:
    """The second image of each breed has two dogs, which the box encloses together."""
    listed: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for label, breed in enumerate(DOGS):
        for number in range(4):
            name = f"{breed}/{breed.partition('-')[0]}_{number}"
            draw(root / "Images" / f"{name}.jpg", label)
            listed["train" if number < 3 else "test"].append((name, label + 1))
            left, top, right, bottom = map(int, BOX)
            dogs = [(left, top, right, bottom)]
            if number == 1:
                dogs = [(left, top + 1, right - 4, bottom), (left + 4, top, right, bottom - 1)]
            _write_dogs(root / "Annotation" / name, dogs)
    for split, images in listed.items():
        names = [[name] for name, _ in images]
        save(
            root / f"{split}_list.mat",
            file_list=cells([[f"{name}.jpg"] for [name] in names]),
            annotation_list=cells(names),
            labels=np.array([[label] for _, label in images], np.uint8),
        )
    return root


def _write_dogs(file: Path, dogs: list[tuple[int, int, int, int]]) -> None:
    """Writes the annotation of an image: for each dog its sides."""
    objects = "".join(
        "\t<object>\n\t\t<name>dog</name>\n\t\t<bndbox>\n"
        f"\t\t\t<xmin>{left}</xmin>\n\t\t\t<ymin>{top}</ymin>\n"
        f"\t\t\t<xmax>{right}</xmax>\n\t\t\t<ymax>{bottom}</ymax>\n"
        "\t\t</bndbox>\n\t</object>\n"
        for left, top, right, bottom in dogs
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    write(file, [f"<annotation>\n\t{size}\n{objects}</annotation>"])


def make_oxford_flowers102(root: Path) -> Path:
    """Image n is of class 1 + (n - 1) % 3: two to train, one to validate, one to test of each."""
    for number in range(12):
        draw(root / "jpg" / f"image_{number + 1:05d}.jpg", number % 3)
    save(root / "imagelabels.mat", labels=np.array([[1, 2, 3] * 4], np.uint8))
    save(
        root / "setid.mat",
        trnid=np.array([range(4, 10)], np.uint16),
        valid=np.array([range(1, 4)], np.uint16),
        tstid=np.array([range(10, 13)], np.uint16),
    )
    return root


def make_oxford_iiit_pet(root: Path) -> Path:
    """A breed of cats and two of dogs; boxes of heads of training images only."""
    lines: dict[str, list[str]] = {"trainval": [], "test": []}
    breeds = {"Abyssinian": (1, 1), "american_bulldog": (2, 1), "shiba_inu": (2, 2)}
    for label, (breed, (species, number)) in enumerate(breeds.items()):
        for image in range(4):
            name = f"{breed}_{image + 100}"
            draw(root / "images" / f"{name}.jpg", label)
            split = "trainval" if image < 3 else "test"
            lines[split].append(f"{name} {label + 1} {species} {number}")
            if split == "trainval":
                _write_dogs(root / "annotations" / "xmls" / f"{name}.xml", [(1, 1, 9, 9)])
    header = ("#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 Class ids", "#SPECIES: 1:Cat 2:Dog")
    write(root / "annotations/list.txt", (*header, *sorted(lines["trainval"] + lines["test"])))
    for split, listed in lines.items():
        write(root / "annotations" / f"{split}.txt", listed)
    return root


def make_food101(root: Path) -> Path:
    names = ("apple_pie", "baby_back_ribs", "waffles")
    write(root / "meta/classes.txt", names)
    write(root / "meta/labels.txt", (name.replace("_", " ").capitalize() for name in names))
    listed: dict[str, dict[str, list[str]]] = {split: {} for split in ("train", "test")}
    for label, name in enumerate(names):
        paths = [f"{name}/{1000 * label + number}" for number in range(4)]
        for path in paths:
            draw(root / "images" / f"{path}.jpg", label)
        listed["train"][name], listed["test"][name] = paths[:3], paths[3:]
    for split, images in listed.items():
        write(root / f"meta/{split}.txt", [path for paths in images.values() for path in paths])
        write(root / f"meta/{split}.json", [json.dumps(images)])
    return root


def make_inaturalist2021(root: Path, train: str = "train") -> Path:
    categories = []
    for key, taxon in enumerate(TAXA):
        ranks = dict(zip(RANKS, taxon, strict=True))
        name, folder = " ".join(taxon[-2:]), f"{key:05d}_{'_'.join(taxon)}"
        common = {"common_name": name, "supercategory": taxon[0], "image_dir_name": folder}
        categories.append({"id": key, "name": name, **common, **ranks})
    for split, count, first in ((train, 3, 0), ("val", 1, 100)):
        images, annotations = [], []
        for number in range(3 * count):
            label = number % 3
            path = f"{split}/{categories[label]['image_dir_name']}/{number}.jpg"
            draw(root / path, label)
            size = dict(zip(("width", "height"), SIZE, strict=True))
            rights = {"license": 0, "rights_holder": "", "date": "", "location_uncertainty": None}
            images.append({"id": first + number, "file_name": path, **size, **rights})
            ids = {"id": first + number, "image_id": first + number}
            annotations.append({**ids, "category_id": label})
        content = {"info": {}, "licenses": [], "categories": categories}
        content |= {"images": images, "annotations": annotations}
        write(root / f"{split}.json", [json.dumps(content)])
    return root


def make_inaturalist2021_mini(root: Path) -> Path:
    return make_inaturalist2021(root, "train_mini")


MADE: dict[str, tuple[str, Callable[[Path], Path]]] = {  # `data.name` and maker
    "cub200": ("cub200", make_cub200),
    "nabirds": ("nabirds", make_nabirds),
    "cars_kit": ("stanford_cars", make_cars_kit),
    "cars_nested": ("stanford_cars", make_cars_nested),
    "cars_all": ("stanford_cars", make_cars_all),
    "cars_class_folders": ("stanford_cars", make_cars_class_folders),
    "fgvc_aircraft": ("fgvc_aircraft", make_fgvc_aircraft),
    "stanford_dogs": ("stanford_dogs", make_stanford_dogs),
    "oxford_flowers102": ("oxford_flowers102", make_oxford_flowers102),
    "oxford_iiit_pet": ("oxford_iiit_pet", make_oxford_iiit_pet),
    "food101": ("food101", make_food101),
    "inaturalist2021": ("inaturalist2021", make_inaturalist2021),
    "inaturalist2021_mini": ("inaturalist2021", make_inaturalist2021_mini),
}


def draw(file: Path, label: int, banner: bool = False) -> None:
    """Writes a JPEG whose box has the colour of a class, with noise of its own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    width, height = SIZE
    pixels = np.full((height, width, 3), GREY, np.uint8)
    left, top, right, bottom = map(int, BOX)
    seed = list(file.name.encode())
    noise = np.random.default_rng([label, *seed]).integers(-9, 9, (bottom - top, right - left, 3))
    pixels[top:bottom, left:right] = np.array(COLOURS[label % len(COLOURS)]) + noise
    if banner:
        pixels = np.concatenate([pixels, np.full((20, width, 3), BANNER, np.uint8)])
    Image.fromarray(pixels).save(file, quality=95, subsampling=0)


def write(file: Path, lines) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def cells(texts) -> np.ndarray:
    """A MATLAB cell array."""
    return np.array(texts, object)


def save(file: Path, **variables) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, variables, do_compression=True)


def save_structs(
    file: Path, structs: list[tuple], *last: str, first: str | None = None, names=None
) -> None:
    """Writes the annotations of cars: an array of structs of shape (1, N)."""
    sides = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    names_of_fields = [*([first] if first else []), *sides, *last]
    array = np.empty((1, len(structs)), [(name, object) for name in names_of_fields])
    for number, struct in enumerate(structs):
        array[0, number] = struct
    more = {} if names is None else {"class_names": cells([names])}
    save(file, annotations=array, **more)
