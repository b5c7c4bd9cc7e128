"""`python train.py`: what a run leaves behind, and what it says of mistakes."""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, SMALL
from PIL import Image

from data.image_list import write_list


def metrics(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


# ---------------------------------------------------------------- a run and its folder


def test_a_run_fills_its_folder(train_once):
    outcome, folder = train_once()
    assert {path.name for path in folder.iterdir()} >= {
        "metrics.json",
        "metrics.jsonl",
        "config.yaml",
        "model.keras",
        "checkpoints",
        "tensorboard",
        "predictions.csv",
        "classes.json",
    }
    record = metrics(folder)
    assert set(record["test"]) >= {"accuracy", "top5_accuracy", "loss"}
    assert record["val"]["accuracy"] == record["test"]["accuracy"] == 1.0  # colours are easy
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    predictions = list(csv.DictReader((folder / "predictions.csv").open()))
    assert len(predictions) == record["test"]["pictures"] == 6
    assert {line["label"] for line in predictions} == {"blue", "green", "red"}
    assert f"tensorboard --logdir {folder}" in outcome.output


def test_tensorboard_shows_curves_images_text_and_graph(train_once):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, folder = train_once()
    logs = EventAccumulator(str(folder / "tensorboard")).Reload()
    nodes = {node.name: list(node.input) for node in logs.Graph().node}
    assert {"images", "descriptor/second_order", "probabilities"} <= set(nodes)
    assert {name for inputs in nodes.values() for name in inputs} <= set(nodes)
    assert set(logs.PluginTagToContent("text")) >= {"config", "test/table of classes"}
    assert set(logs.PluginTagToContent("images")) == {
        "test/confusion",
        "test/worst mistakes",
        "test/accuracy by class",
        "test/reliability",
        "test/confused pairs",
        "test/evidence",
        "test/spectrum",
    }
    dynamics = EventAccumulator(str(folder / "dynamics")).Reload().Tags()["tensors"]
    assert {"gradient norm/all", "weights/classifier/kernel"} <= set(dynamics)
    for split in ("train", "validation"):
        tags = EventAccumulator(str(folder / "tensorboard" / split)).Reload().Tags()["tensors"]
        assert set(tags) >= {"epoch_loss", "epoch_accuracy", "epoch_top5_accuracy"}
    assert (
        "epoch_learning_rate"
        in EventAccumulator(str(folder / "tensorboard" / "train")).Reload().Tags()["tensors"]
    )


def test_a_stage_ends_with_one_line_in_a_log(train_once):
    outcome, _ = train_once()
    pattern = r"head: 100%\|#+\| 3/3 epochs in \d\d:\d\d, accuracy [01]\.\d{3}, best 1\.000"
    assert len(re.findall(f"^{pattern}$", outcome.output, re.MULTILINE)) == 1, outcome.output
    assert "Epoch" not in outcome.output
    assert "\r" not in outcome.output + outcome.errors


@pytest.mark.slow
def test_a_profile_is_recorded_on_request(train, train_once):
    assert not list(train_once()[1].rglob("*.xplane.pb"))
    _, folder = train(
        "trainer.profile=true", "trainer.epochs=1", "trainer.batch_size=1", name="profiled"
    )
    assert list((folder / "tensorboard").rglob("*.xplane.pb"))


def test_a_seed_repeated_gives_the_same_metrics_to_the_last_digit(train, train_once):
    runs = [train_once(), train(name="again"), train("seed=4", name="other")]
    timeless = [{key: metrics(folder)[key] for key in ("val", "test")} for _, folder in runs]
    assert timeless[0] == timeless[1]
    assert timeless[0] != timeless[2]


@pytest.mark.slow
def test_fine_tuning_changes_the_backbone(train, train_once):
    frozen = metrics(train_once()[1])
    _, folder = train("trainer.fine_tune_epochs=1", "data.val_fraction=0", name="tuned")
    tuned = metrics(folder)
    assert list(tuned["stages"]) == ["head", "fine_tune"]
    assert tuned["backbone_digest"] != frozen["backbone_digest"]
    assert tuned["stages"]["fine_tune"]["chosen_epoch"] == 4


def test_both_stages_are_reported_and_the_second_one_is_no_worse(train):
    outcome, folder = train("trainer.fine_tune_epochs=1", "trainer.calibrate=false")
    assert "val, stage 1 (head)" in outcome.output and "val, stage 2 (fine tune)" in outcome.output
    before, after = (stage["val"]["accuracy"] for stage in metrics(folder)["stages"].values())
    assert after >= before


def test_without_the_store_images_are_read_every_epoch(train, tmp_path):
    outcome, folder = train("trainer.feature_store=false", "trainer.epochs=1")
    assert outcome.status == 0 and not (tmp_path / "features").exists()
    assert metrics(folder)["stages"]["head"]["epochs"] == 1


@pytest.mark.slow
def test_the_papers_protocol_has_no_validation_and_says_so(train):
    outcome, folder = train("data.val_fraction=0")
    assert metrics(folder)["val"] is None
    assert "last epoch (no validation split)" in outcome.output


@pytest.mark.slow
def test_a_reduction_is_trained_on_stored_maps(train):
    outcome, folder = train("head=isqrt_cov", "head.reduction=4")
    assert outcome.status == 0, outcome.errors
    assert metrics(folder)["descriptor_size"] == 4 * 5 // 2


SLOW_HEADS = (
    "bilinear",
    "isqrt_cov",
    "log_euclidean",
    "power",
    "precision",
    "max_exp",
    "gaussian",
    "compact_bilinear",
)


@pytest.mark.parametrize(
    "head",
    [
        "average",
        "mpn_cov",
        *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_HEADS),
    ],
)
def test_every_head_trains(train, head):
    outcome, _ = train(f"head={head}", "trainer.epochs=1")
    assert outcome.status == 0, outcome.errors


@pytest.mark.slow
def test_debug_overfit_learns_its_few_images(train):
    _, folder = train("debug=overfit", "trainer.epochs=40")
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["accuracy"] == 1.0


# ---------------------------------------------------------------- sweeps


@pytest.mark.slow
def test_a_sweep_ends_with_a_table_over_seeds(train):
    outcome, folder = train("-m", "head=average,bilinear", "seed=0,1")
    assert outcome.status == 0, outcome.errors
    indices = list(csv.DictReader((folder / "summary.csv").open()))
    assert [(index["head"], index["n"]) for index in indices] == [
        ("average", "2"),
        ("bilinear", "2"),
    ]
    accuracies = [
        metrics(run)["test"]["accuracy"] for run in sorted(folder.glob("*-bilinear-seed*"))
    ]
    assert float(indices[1]["test_mean"]) == pytest.approx(np.mean(accuracies))
    assert float(indices[1]["test_std"]) == pytest.approx(np.std(accuracies, ddof=1))
    assert "±" in outcome.output


@pytest.mark.slow
def test_one_failed_job_does_not_lose_the_others_and_is_named(train):
    outcome, folder = train("-m", "backbone.tap=block1_conv1,nowhere")
    assert outcome.status != 0
    assert "failed:" in outcome.output and "backbone.tap=nowhere" in outcome.output
    assert "1 of 2 jobs failed" in outcome.errors
    assert len(list(folder.glob("*/metrics.json"))) == 1


# ---------------------------------------------------------------- mistakes, each told in a line


def fails(outcome, folder, *words: str) -> None:
    """The command failed with one line that holds `words`, and left nothing half-written."""
    assert outcome.status == 2
    for word in words:
        assert word in outcome.error, outcome.error
    assert not (folder / "metrics.json").exists() and not (folder / "model.keras").exists()


def test_an_unknown_key(train):
    fails(*train("trainer.epoch=3"), "trainer.epoch", "epochs")
    fails(*train("+trainer.epoch=3"), "epoch", "epochs")


def test_a_wrong_type(train):
    fails(*train("trainer.epochs=many"), "trainer.epochs=many", "Integer")


def test_an_unknown_group_option_lists_the_options(train):
    outcome, folder = train("head=bilinaer")
    fails(
        outcome,
        folder,
        "head=bilinaer: unknown; the choices are attentive, average, average_tokens, bilinear",
        "improved_bilinear",
    )
    assert "did you mean head=bilinear" in outcome.error


def test_a_tap_that_does_not_exist_lists_the_taps(train):
    fails(*train("backbone.tap=block1_conv3"), "backbone.tap=block1_conv3", "block1_conv2")


@pytest.mark.slow
def test_what_failed_before_training_is_corrected_in_the_same_folder(train, own_folder):
    broken = own_folder / "red" / "3.png"
    broken.write_bytes(b"no image")
    fails(*train(), "red/3.png")
    fails(*train("backbone.tap=nowhere"), "backbone.tap=nowhere")
    broken.unlink()
    outcome, folder = train()
    assert outcome.status == 0, outcome.errors
    assert "nothing was trained there" in outcome.output
    assert sum(metrics(folder)["data"][split] for split in ("train", "val", "test")) == 29


def test_another_program_s_folder_is_named_and_left(command, tmp_path):
    (tmp_path / "config.yaml").write_text("lr: 0.1\n")
    outcome = command("train.py", f"hydra.run.dir={tmp_path}")
    assert (
        outcome.status == 2
        and f"{tmp_path}/config.yaml: belongs to another program" in outcome.error
    )
    assert (tmp_path / "config.yaml").read_text() == "lr: 0.1\n"


def test_an_unknown_backbone_lists_the_known(train):
    fails(*train("backbone.name=vgg61"), "backbone.name=vgg61", "vgg16")


def test_weights_that_are_not_there(train):
    fails(*train("backbone.weights=none.h5"), "backbone.weights=none.h5", "imagenet")


def test_weights_that_do_not_fit_name_the_layer(train, tmp_path):
    import keras

    keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="block1_conv1")]
    ).save_weights(tmp_path / "other.weights.h5")
    outcome, folder = train(f"backbone.weights={tmp_path / 'other.weights.h5'}")
    fails(outcome, folder, "other.weights.h5", "up to block1_conv2")


def test_a_folder_that_does_not_exist(train):
    fails(*train("data.path=no/such/folder"), f"data.path={ROOT}/no/such/folder")


def test_no_folder_given(train):
    fails(*train("data.path=???"), "data.path")


def test_an_empty_folder(train, tmp_path):
    (tmp_path / "empty").mkdir()
    fails(*train(f"data.path={tmp_path / 'empty'}"), "empty", "class/image")


def test_one_class_only(train, own_folder):
    for name in ("blue", "green"):
        shutil.rmtree(own_folder / name)
    fails(*train(), "one class only", "red")


def test_a_class_with_too_few_images_to_split(train, own_folder):
    for image in sorted((own_folder / "red").iterdir())[1:]:
        image.unlink()
    fails(*train(), "'red'", "too few images (1 left)", "data.test_fraction")


@pytest.mark.parametrize("store", ["true", pytest.param("false", marks=pytest.mark.slow)])
def test_an_undecodable_image_is_named(train, own_folder, store):
    (own_folder / "red" / "3.png").write_bytes(b"no image")
    fails(*train(f"trainer.feature_store={store}"), "red/3.png", "data.skip_damaged=true")


def test_damaged_images_are_left_out_and_counted_if_asked(train, own_folder):
    image = own_folder / "red" / "3.png"
    image.write_bytes(image.read_bytes()[:300])  # ends early
    outcome, folder = train("data.skip_damaged=true")
    assert outcome.status == 0 and "1 damaged left out" in outcome.output
    assert metrics(folder)["data"]["damaged"] == ["red/3.png"]


def test_no_room_for_the_features(train, monkeypatch):
    full = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    fails(*train(), "trainer.feature_dir", "trainer.feature_store=false")


def test_a_loss_that_diverges_stops_with_advice(train):
    outcome, folder = train("optimizer.weight_decay=1e10", "trainer.epochs=20")
    fails(outcome, folder, "loss became nan", "optimizer.learning_rate")


def test_batches_and_epochs_must_be_positive(train):
    fails(*train("trainer.batch_size=0"), "trainer.batch_size=0")
    fails(*train("trainer.epochs=0"), "trainer.epochs=0")


@pytest.mark.slow
def test_an_unexpected_failure_loses_one_job_of_a_sweep_and_not_its_table(train, monkeypatch):
    from experiments import classification

    build = classification.build_classifier

    def fail_once(config, classes):
        if config.seed == 0:
            raise RuntimeError("out of memory")
        return build(config, classes)

    monkeypatch.setattr(classification, "build_classifier", fail_once)
    outcome, folder = train("-m", "seed=0,1")
    assert outcome.status == 1 and "out of memory" in outcome.output
    assert (folder / "summary.csv").exists()


def test_a_split_without_images(train, own_folder):
    (own_folder.parent / "split").mkdir()
    own_folder.rename(own_folder.parent / "split" / "train")
    (own_folder.parent / "split" / "test").mkdir()
    fails(*train(f"data.path={own_folder.parent / 'split'}"), "test split", "no images")


def test_numbers_out_of_range_name_their_key(train):
    for override in ("trainer.fine_tune_epochs=-1", "optimizer.factor=0", "seed=-1"):
        fails(*train(override), override)


# ---------------------------------------------------------------- as a process


def test_cfg_answers_without_loading_tensorflow(tmp_path):
    code = (
        "import sys, runpy; sys.argv = ['train.py', '--cfg', 'job']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "finally: assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "improved_bilinear" in done.stdout


def test_a_mistake_exits_with_2_and_one_line_and_no_traceback(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # or TensorFlow starts talkative
    done = subprocess.run(
        [
            sys.executable,
            "train.py",
            "data=image_folder",
            f"data.path={tmp_path / 'none'}",
            f"hydra.run.dir={tmp_path / 'run'}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: data.path=")


@pytest.mark.slow
def test_images_of_other_shapes_and_kinds_train(train, own_folder):
    Image.new("RGB", (90, 20), (200, 60, 40)).save(own_folder / "red" / "wide.jpg")
    Image.new("P", (20, 90)).save(own_folder / "red" / "tall.bmp")
    outcome, folder = train()
    assert (
        outcome.status == 0
        and sum(metrics(folder)["data"][split] for split in ("train", "val", "test")) == 32
    )


# ---------------------------------------------------------------- copies of images


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    [
        "trainer.feature_store=true",
        pytest.param("trainer.feature_store=false", marks=pytest.mark.slow),
    ],
)
def test_exact_copies_are_mentioned_also_when_the_features_were_stored(train, own_folder, option):
    for label in ("blue", "green"):
        shutil.copyfile(own_folder / "red" / "0.png", own_folder / label / "copy.png")
    for name in ("first", "second"):
        outcome, folder = train(option, name=name)
        lines = [line for line in outcome.output.splitlines() if "exact copies" in line]
        assert len(lines) == 1 and "2 of an image with another label" in lines[0]
    splits = json.loads((folder / "splits.json").read_text())
    content = json.loads((folder / "content.json").read_text())
    assert {split: list(hashes) for split, hashes in content.items()} == splits


# ---------------------------------------------------------------- a list of images


@pytest.mark.slow
def test_a_list_gives_the_results_of_its_folder_digit_for_digit(
    train, command, own_folder, tmp_path
):
    _, of_folder = train()
    write_list(own_folder, own_folder.parent / "lists.csv")
    of_list = tmp_path / "of list"
    outcome = command(
        "train.py", "data=image_list", f"data.path={own_folder.parent / 'lists.csv'}",
        f"data.root={own_folder.parent}", *SMALL, f"trainer.feature_dir={tmp_path / 'features 2'}",
        f"hydra.run.dir='{of_list}'",
    )  # fmt: skip
    assert outcome.status == 0, outcome.errors
    records = [metrics(folder) for folder in (of_folder, of_list)]
    for key in ("val", "test"):
        assert records[0][key] == records[1][key]
    prefix = f"{own_folder.name}/"
    splits = [json.loads((folder / "splits.json").read_text()) for folder in (of_folder, of_list)]
    for split, keys in splits[1].items():
        assert keys == [f"{prefix}{key}" for key in splits[0][split]]
    for name in ("metrics.jsonl", "content.json", "predictions.csv"):
        texts = [(folder / name).read_text() for folder in (of_folder, of_list)]
        assert without_times(texts[1].replace(prefix, "")) == without_times(texts[0])
    stored = [
        sorted(file.read_bytes() for file in (tmp_path / name).rglob("*.bin"))
        for name in ("features", "features 2")
    ]
    assert stored[0] == stored[1] and len(stored[0]) == 2  # features, and inner products


def without_times(text: str) -> str:
    return re.sub(r'"(seconds|images_per_second)": [\d.]+', "", text)
