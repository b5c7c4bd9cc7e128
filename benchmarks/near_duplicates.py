"""Measures which near-duplicates `inspect_data.py` finds, and what many images cost.

    python benchmarks/near_duplicates.py planted --path FOLDER --seeds 0 1 2 3 4
    python benchmarks/near_duplicates.py many --images 100000

planted  copies a folder of class folders into train, val and test folders by seed, with links. Then
         it adds copies of training images, changed in one of several ways, to the test or the
         validation folder. For each way: how many of the copies are named as near-duplicates of
         their originals, across splits. Pairs that are already there count for neither side;
         "others" are all other pairs, those of a copy and a near-duplicate of its original
         included. They are counted for the first three ways together, which are planted alone, and
         for all ways.
many     draws small JPEGs of random shapes in a temporary folder, a hundredth of them mirrored
         copies of others, and inspects them in a process of its own: seconds, also of processor
         time, peak memory (VmHWM, Linux), and how many of the copies are named.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from benchmarks.measuring import in_own_process, process_bytes
from conf.schema import DataConfig
from data.datasets import open_dataset
from data.inspection import Inspection, inspect_images

Change = Callable[[Image.Image], Image.Image]

PLANTED = 10  # copies of each way
QUALITY = 90  # of the JPEG files of changed copies


def _cropped(share: float) -> Change:
    def crop(image: Image.Image) -> Image.Image:
        width, height = round(share * image.width), round(share * image.height)
        return image.crop((width, height, image.width - width, image.height - height))

    return crop


def _mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


WAYS: dict[str, tuple[Change, int]] = {  # the change, and the quality of the JPEG file
    "mirrored": (_mirrored, QUALITY),
    "quality 40": (lambda image: image, 40),
    "cropped by 5%": (_cropped(0.05), QUALITY),
    "cropped by 10%": (_cropped(0.1), QUALITY),
    "mirrored, cropped by 5%": (lambda image: _cropped(0.05)(_mirrored(image)), QUALITY),
    "20% brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.2), QUALITY),
    "20% darker": (lambda image: ImageEnhance.Brightness(image).enhance(0.8), QUALITY),
    "scaled to a half": (lambda image: image.reduce(2), QUALITY),
}
REQUIRED = list(WAYS)[:3]


def planted(options) -> None:
    for seed in options.seeds:
        counts: dict[str, int] = {}
        others = {}
        for name, ways in {"required": REQUIRED, "all": list(WAYS)}.items():
            with tempfile.TemporaryDirectory() as folder:
                named, others[name] = _planted(Path(options.path), Path(folder), seed, ways)
                counts = named | counts
        texts = [f"{way} {counts[way]}" for way in WAYS]
        print(
            f"seed {seed}, of {PLANTED} each: {'; '.join(texts)}; others: {others['required']} "
            f"with the first three, {others['all']} with all",
            flush=True,
        )


def _planted(path: Path, folder: Path, seed: int, ways: list[str]) -> tuple[dict[str, int], int]:
    """Returns how many copies of each way are named, and how many other pairs are new."""
    dataset = open_dataset(DataConfig("image_folder", str(path)), seed)
    for split, indices in dataset.splits.items():
        for index in indices.tolist():
            link = folder / split / dataset.images.name(index)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute() / dataset.images.name(index))
    before = _pairs(_inspected(folder))
    rng = np.random.default_rng(seed)
    sources = rng.permutation(dataset.splits["train"])[: PLANTED * len(ways)].tolist()
    wanted: dict[frozenset[str], str] = {}
    for number, source in enumerate(sources):
        way, name = ways[number // PLANTED], dataset.images.name(source)
        place = f"{rng.choice(['val', 'test'])}/{Path(name).parent}/planted_{number}.jpg"
        change, quality = WAYS[way]
        with Image.open(path / name) as image:
            change(image.convert("RGB")).save(folder / place, quality=quality)
        wanted[frozenset({f"train/{name}", place})] = way
    named = _pairs(_inspected(folder)) - before
    counts = {way: sum(wanted.get(pair) == way for pair in named) for way in ways}
    return counts, len(named - wanted.keys())


def _inspected(folder: Path) -> Inspection:
    config = DataConfig("image_folder", str(folder))
    return inspect_images(open_dataset(config, seed=0), config)


def _pairs(inspection: Inspection) -> set[frozenset[str]]:
    """The names of both images of each pair: all copies, across splits and within a split."""
    name = inspection.dataset.images.name
    pairs = [*inspection.copies, *inspection.near_duplicates]
    return {frozenset({name(pair.first), name(pair.second)}) for pair in pairs}


def many(options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(f"drawing {options.images} images", flush=True)
        starts = range(0, options.images, 1000)
        with ProcessPoolExecutor() as pool:
            list(pool.map(_draw, starts, [options.images] * len(starts), [folder] * len(starts)))
        for name, value in in_own_process(_inspect_many, folder).items():
            print(f"{name:24}{value:>12}")


def _draw(start: int, images: int, folder: str) -> None:
    """Draws the images of one folder. Each hundredth one is a mirrored copy of the one before."""
    for number in range(start, min(start + 1000, images)):
        place = Path(folder, ("train", "train", "val", "test")[number % 4], f"{start // 1000:04}")
        place.mkdir(parents=True, exist_ok=True)
        if number % 100:
            image = _drawing(np.random.default_rng(number))
        else:
            image = _mirrored(_drawing(np.random.default_rng(number + 1)))
        image.save(place / f"{number:06}.jpg", quality=QUALITY)


def _drawing(rng: np.random.Generator) -> Image.Image:
    """Ellipses of random colours on a random background, 64 x 64 pixels."""
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    image = small.resize((64, 64), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        (left, top), size = rng.uniform(-8, 64, 2), rng.uniform(4, 32, 2)
        colour = tuple(rng.integers(0, 256, 3).tolist())
        draw.ellipse((left, top, left + size[0], top + size[1]), fill=colour)
    return image


def _inspect_many(folder: str) -> dict[str, str]:
    config = DataConfig("image_folder", folder)
    start = time.perf_counter()
    inspection = inspect_images(open_dataset(config, seed=0), config)
    seconds = time.perf_counter() - start
    name = inspection.dataset.images.name
    numbers = [
        {int(Path(name(index)).stem) for index in (pair.first, pair.second)}
        for pair in inspection.near_duplicates
    ]
    copies = sum(min(pair) % 100 == 0 and max(pair) == min(pair) + 1 for pair in numbers)
    return {
        "images": f"{len(inspection.indices)}",
        "seconds": f"{seconds:.0f}",
        "of processor time": f"{time.process_time():.0f}",
        "peak memory": f"{process_bytes('VmHWM') / 2**30:.2f} GiB",
        "copies": f"{-(-len(inspection.indices) // 100)}",
        "of them named": f"{copies}",
        "other pairs": f"{len(inspection.near_duplicates) - copies}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("planted")
    part.add_argument("--path", required=True, help="a folder of class folders")
    part.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="default: 0-4")
    part = parts.add_parser("many")
    part.add_argument("--images", type=int, default=100_000, help="default: 100000")
    options = parser.parse_args()
    {"planted": planted, "many": many}[options.part](options)


if __name__ == "__main__":
    main()
