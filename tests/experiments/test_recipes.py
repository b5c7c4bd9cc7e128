"""Every experiment of `conf/experiment/` runs from start to end, on made data of its own schema."""

import io
import json
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import CONF
from made_presets import SIZES, write_preset
from made_releases import CARS, make_cars_kit, make_grocery_store, make_nabirds
from PIL import Image

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
TEXTS = {name: (CONF / f"experiment/{name}.yaml").read_text() for name in RECIPES}
QUICK = {"dtd_vgg16"}  # the others run every night
POST_MORTEM = "post_mortem"  # which trains some twenty heads, and has one stage
SIZE = 32  # pixels, the least that every backbone takes
PRESETS = {"dinov2_base": "dinov2", "efficientnet_lite0": "resnet"}  # made in place of a download
EARLY = {"mobilenet_v2": "block_3_expand_relu", "vgg16": "block2_conv1"}


def backbone_of(name: str) -> tuple[str, ...]:
    """The backbone and the tap of a recipe."""
    return tuple(re.findall(r"/backbone: \w+|^  tap: \w+", TEXTS[name], re.MULTILINE))


# Of the recipes with a backbone and tap the first of classification trains it whole; the others
# train its first layers here.
WHOLE = {backbone_of(name): name for name in reversed(RECIPES) if "task: " not in TEXTS[name]}


def made_source(builder, split, decoders=None, **_):
    """Four small images of each class, in place of what TFDS would read."""
    label = builder.info.features["label"]
    known = ("id", "file_name", "image/filename", "image/file_name")
    names = [key for key in known if key in builder.info.features]
    records = []
    for i in range(4 * label.num_classes):
        file = io.BytesIO()
        noise = np.random.default_rng(i).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(noise).save(file, "JPEG")
        name = f"{split}{i}.jpg".encode()
        records.append(
            {"image": file.getvalue(), "label": i % label.num_classes} | dict.fromkeys(names, name)
        )
    return records


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in RECIPES],
)
def test_a_recipe_runs(name, command, own_folder, draw_images, tmp_path):
    draw_images(own_folder / "white", 10, (220, 220, 220))  # retrieval takes four classes
    if "/data: image_folder" in TEXTS[name]:
        where = own_folder
    elif "/data: grocery_store" in TEXTS[name]:
        where = make_grocery_store(tmp_path / "grocery store", draw_images)
    elif "/data: stanford_cars" in TEXTS[name]:
        cars = (*CARS, "Tesla Model S Sedan 2012")
        where = make_cars_kit(tmp_path / "cars", names=cars, counts=(5, 5))
    elif "/data: nabirds" in TEXTS[name]:
        where = make_nabirds(tmp_path / "nabirds")
    else:
        where = tmp_path / "tfds"
    size, weights = SIZE, "backbone.weights=random"
    for backbone, family in PRESETS.items():
        if f"/backbone: {backbone}\n" in TEXTS[name]:
            pytest.importorskip("keras_hub")
            size = SIZES[family]
            weights = f"backbone.preset={write_preset(tmp_path / 'preset', family)}"
    one_class = "task: one_class" in TEXTS[name]
    more = (
        [
            f"reference.path={tmp_path / 'tfds'}",
            "reference.limit=2",
            "reference.limit_classes=3",
            "one_class.target=0",
        ]
        if one_class
        else []
    )
    if WHOLE.get(backbone_of(name)) != name:
        more += [
            f"backbone.tap={EARLY[key]}" for key in EARLY if f"/backbone: {key}\n" in TEXTS[name]
        ]
    if POST_MORTEM in name:
        more.append("trainer.fine_tune_epochs=0")
    with tfds.testing.mock_data(as_data_source_fn=made_source):
        outcome = command(
            "train.py",
            f"experiment={name}",
            "debug=limit",
            f"data.path={where}",
            f"data.image_size={size}",
            weights,
            "data.limit=2",
            "trainer.epochs=1",
            f"trainer.feature_dir={tmp_path / 'features'}",
            f"hydra.run.dir={tmp_path / 'run'}",
            *more,
        )
    assert outcome.status == 0, outcome.errors
    results = json.loads((tmp_path / "run" / "metrics.json").read_text())
    stages = ["head"] if POST_MORTEM in name else ["head", "fine_tune"]
    for record in results.get("classes", results.get("variants", {"": results})).values():
        assert list(record["stages"]) == stages
