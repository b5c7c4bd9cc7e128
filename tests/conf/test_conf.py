"""Every YAML file composes, and an error in a file names it."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.schema import Config, Schedule
from conf.validation import checked

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(path.relative_to(CONF) for path in CONF.glob("*/*.yaml"))
GROUPS = (
    "augment",
    "backbone",
    "data",
    "debug",
    "experiment",
    "fine_tuning",
    "head",
    "loss",
    "optimizer",
    "trainer",
)


def composed(*overrides: str) -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("config", list(overrides)))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_composes(file):
    overrides = [f"{file.parent}={file.stem}"]
    if "data: image_folder" in (CONF / file).read_text() or file.stem == "image_folder":
        overrides.append("data.path=somewhere")
    if file.parent.name == "loss":
        tasks = {"triplet_hard": "metric_learning", "triplet_semi_hard": "metric_learning"}
        tasks |= {"compactness": "one_class"}
        overrides.append(f"task={tasks.get(file.stem, 'classification')}")
        overrides += ["head.embedding=8"] if file.stem.startswith(("softmax_", "triplet")) else []
        overrides += ["data@reference=drawn_birds"] if file.stem == "compactness" else []
    if file.stem in ("attentive", "moment_probing"):  # poolings that are trained
        overrides.append("optimizer=adamw")
    if file.stem == "keras_hub":
        overrides.append("backbone.preset=dinov2_base")
    assert isinstance(composed(*overrides), Config)


def test_the_groups_are_one_level_deep():
    assert {str(file.parent) for file in FILES} == set(GROUPS)
    assert {path.parts[-3] for path in CONF.glob("*/*/*.yaml")} == {"hydra"}  # where it looks


@pytest.mark.parametrize("group", ["head", "loss"])
def test_a_file_is_named_as_what_it_configures(group):
    for file in (CONF / group).glob("*.yaml"):
        assert OmegaConf.load(file).name == file.stem


def test_an_experiment_wins_over_the_groups_and_the_command_line_over_both():
    assert composed("experiment=cub200_vgg16").optimizer.schedule is Schedule.step
    overridden = composed("experiment=cub200_vgg16", "optimizer.schedule=plateau")
    assert overridden.optimizer.schedule is Schedule.plateau


def test_every_experiment_says_its_command():
    for file in (CONF / "experiment").glob("*.yaml"):
        assert f"#   python train.py experiment={file.stem}" in file.read_text()


@pytest.mark.parametrize(
    "override", ["trainer.epoch=1", "+trainer.epoch=1", "trainer.epochs=many", "head.root=svd"]
)
def test_a_wrong_key_or_type_on_the_command_line_fails(override):
    with pytest.raises((HydraException, OmegaConfBaseException)):
        composed(override)


def test_a_key_of_a_reference_that_is_not_named_is_reported():
    with pytest.raises(AssertionError):  # the commands turn it into one line
        composed("reference.limit=3")
    assert composed("data@reference=drawn_birds", "reference.limit=3").reference.limit == 3


def test_a_wrong_key_in_a_file_fails_and_names_it(tmp_path):
    folder = tmp_path / "conf"
    for file in [Path("config.yaml"), *FILES]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text((CONF / file).read_text())
    with (folder / "experiment" / "cub200_vgg16.yaml").open("a") as file:
        file.write("  epoch: 3\n")
    with (
        initialize_config_dir(str(folder), version_base="1.3"),
        pytest.raises(HydraException, match="experiment/cub200_vgg16"),
    ):
        compose("config", ["experiment=cub200_vgg16"])
