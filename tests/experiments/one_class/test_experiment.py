"""`task=one_class`: one class against others that its network has never seen."""

import csv
import io
import json
import shutil

import keras
import numpy as np
import pytest
from conftest import COLOURS, SMALL
from PIL import Image
from sklearn.metrics import roc_auc_score
from whole_runs import run_steps

from errors import UserError
from experiments.one_class.targets import targets
from models.saved_model import load_model

TASK = (
    "task=one_class",
    "loss=compactness",
    "optimizer=adamw",
    "optimizer.learning_rate=1e-3",
    "data@reference=drawn_birds",
    "reference.name=image_folder",
    "head=average",
    "reference.image_size=32",
    "loss.compactness_weight=1",
)


# Both stages; two targets, and the second by itself. A state to resume from follows each epoch.
STAGES = (
    "trainer.epochs=2",
    "trainer.fine_tune_epochs=1",
    "optimizer.fine_tune_learning_rate=1e-4",
    "head.dropout=0.2",
    "trainer.checkpoint_seconds=0",
    "trainer.epoch_lines=true",
)
PAIR = (*STAGES, "one_class.target=[red,blue]")
ALONE = (*STAGES, "one_class.target=0")


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory, draw_images):
    """Three classes, for all tests of this file: not to be changed."""
    root = tmp_path_factory.mktemp("own")
    for name, colour in COLOURS.items():
        draw_images(root / name, 10, colour)
    return root


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory, draw_images):
    """The reference: two classes that are none of `own_folder`'s."""
    root = tmp_path_factory.mktemp("reference")
    for name, colour in {"grey": (90, 90, 90), "white": (220, 220, 220)}.items():
        draw_images(root / name, 10, colour)
    return root


@pytest.fixture(scope="module")
def learnt() -> dict:
    """The runs that tests of this file share, by their overrides."""
    return {}


@pytest.fixture(scope="module")
def paths(own_folder, other_folder, tmp_path_factory) -> tuple[str, ...]:
    features = tmp_path_factory.mktemp("features")
    return f"reference.path={other_folder}", f"trainer.feature_dir={features}"


@pytest.fixture
def learn(train, paths):
    """Runs `train.py task=one_class` on `own_folder` beside `other_folder`."""

    def run(*overrides: str, name: str = "run"):
        return train(*TASK, *paths, *overrides, name=name)

    return run


@pytest.fixture
def learn_once(learn, learnt):
    """Like `learn`, but runs once for all tests that ask: they leave the folder as it is."""

    def run(*overrides: str):
        if overrides not in learnt:
            learnt[overrides] = learn(*overrides, name=f"shared{len(learnt)}")
        return learnt[overrides]

    return run


@pytest.fixture
def make(make_config, own_folder, paths):
    def config(*overrides: str):
        return make_config(
            "data=image_folder", f"data.path={own_folder}", *SMALL, *TASK, *paths, *overrides
        )

    return config


def metrics(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def timeless(folder) -> dict:
    def without_seconds(record):
        if isinstance(record, dict):
            return {k: without_seconds(v) for k, v in record.items() if k != "seconds"}
        return record

    return without_seconds(metrics(folder))


# ---------------------------------------------------------------- a run


def test_one_target_fills_the_run_s_folder(learn_once):
    outcome, folder = learn_once(*ALONE)
    assert outcome.status == 0, outcome.errors
    record = metrics(folder)
    assert record["test"]["auroc"] == record["learned"]["k_nn"] == 1.0  # colours are easy
    assert record["val"]["auroc"] == 1.0
    assert (
        list(record["frozen"])
        == list(record["learned"])
        == ["k_nn", "one_class_svm", "isolation_forest", "gaussian_mixture"]
    )
    assert list(record["classes"]) == ["blue"] and "std" not in record
    assert record["classes"]["blue"]["stages"]["head"]["chosen_by"] == "last epoch"
    header = next(line for line in outcome.output.splitlines() if line.startswith("AUROC"))
    assert "frozen k-NN" in header and "learned k-NN" in header


def test_the_curves_are_a_plot_in_the_folder_and_in_tensorboard(learn_once):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, folder = learn_once(*ALONE)
    logged = EventAccumulator(str(folder / "tensorboard")).Reload()
    width, height, encoded = logged.Tensors("test/roc")[0].tensor_proto.string_val
    drawn = Image.open(io.BytesIO(encoded))
    np.testing.assert_array_equal(drawn, Image.open(folder / "roc.png"))
    assert drawn.size == (int(width), int(height)) == (600, 600)


def test_the_scores_in_the_predictions_are_those_of_the_metrics(learn_once):
    _, folder = learn_once(*ALONE)
    lines = list(csv.DictReader((folder / "predictions.csv").open()))
    assert {line["target"] for line in lines} == {"blue"}
    truth = [line["label"] == "blue" for line in lines]
    for scorer, auroc in metrics(folder)["learned"].items():
        scores = [float(line[f"learned/{scorer}"]) for line in lines]
        assert roc_auc_score(truth, scores) == auroc
    assert len(lines) == metrics(folder)["test"]["pictures"] == 6


def test_training_compacts_the_target_and_tells_the_reference_apart(make, tmp_path):
    config = make(
        "one_class.target=red",
        "trainer.epochs=40",
        "optimizer.learning_rate=0.01",
        "loss.compactness_weight=1000",
    )
    assert run_steps(config, tmp_path).record["test"]["auroc"] == 1.0
    first, *_, last = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert last["features_loss"] < 0.5 * first["features_loss"]
    assert last["classifier_accuracy"] == 1.0


def test_the_saved_model_gives_features(learn_once):
    _, folder = learn_once(*ALONE)
    model = load_model(folder)
    assert model(np.zeros((2, 32, 32, 3))).shape == (2, metrics(folder)["descriptor_size"])
    assert isinstance(model, keras.Model)


@pytest.mark.slow
def test_several_targets_give_mean_and_deviation_in_folders_of_their_own(learn_once):
    outcome, folder = learn_once(*PAIR)
    assert outcome.status == 0, outcome.errors
    record = metrics(folder)
    assert list(record["classes"]) == ["red", "blue"]
    for kind in ("frozen", "learned"):
        values = [each[kind]["one_class_svm"] for each in record["classes"].values()]
        assert record[kind]["one_class_svm"] == pytest.approx(np.mean(values))
        assert record["std"][kind]["one_class_svm"] == pytest.approx(np.std(values, ddof=1))
    assert {path.name for path in (folder / "targets").iterdir()} == {"000-blue", "002-red"}
    assert all((path / "model.keras").exists() for path in (folder / "targets").iterdir())
    lines = list(csv.DictReader((folder / "predictions.csv").open()))
    assert [line["target"] for line in lines] == ["red"] * 6 + ["blue"] * 6
    assert "mean" in outcome.output and "std" in outcome.output


@pytest.mark.slow
def test_the_second_target_is_fine_tuned_as_if_it_were_the_only_one(learn_once):
    records = metrics(learn_once(*PAIR)[1])["classes"]
    assert all(list(record["stages"]) == ["head", "fine_tune"] for record in records.values())
    alone = metrics(learn_once(*ALONE)[1])["classes"]["blue"]
    assert alone["learned"] == records["blue"]["learned"]
    assert alone["backbone_digest"] == records["blue"]["backbone_digest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.feature_store=false", "one_class.reference_aliens=true"],
        ["head.reduction=4", "trainer.precision=mixed_bfloat16"],
        pytest.param(["trainer.stage_1_gib=0"], marks=pytest.mark.slow),
        pytest.param(["head.standardize=false"], marks=pytest.mark.slow),
        pytest.param(["one_class.templates=2"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_other_ways_to_feed_and_to_score(learn, overrides):
    outcome, folder = learn("one_class.target=red", "trainer.epochs=1", *overrides)
    assert outcome.status == 0, outcome.errors
    assert np.isfinite(metrics(folder)["test"]["auroc"])


# ---------------------------------------------------------------- repeated, interrupted, finished


@pytest.mark.slow
def test_force_repeats_every_target_and_a_killed_run_goes_on_at_its_own(
    learn, learn_once, monkeypatch, tmp_path
):
    from training.callbacks import MetricsLog

    _, whole = learn_once(*PAIR)
    shutil.copytree(whole, tmp_path / "run")
    on_epoch_end, ends = MetricsLog.on_epoch_end, []

    class Killed(BaseException):
        pass

    def interrupt(log, number, logs=None):
        on_epoch_end(log, number, logs)
        ends.append(number)
        if len(ends) == 5:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "on_epoch_end", interrupt)
        with pytest.raises(Killed):
            learn(*PAIR, "force=true")
    assert ends == [0, 1, 2, 0, 1]
    assert not (tmp_path / "run" / "metrics.json").exists()
    outcome, folder = learn(*PAIR)
    assert outcome.status == 0, outcome.errors
    assert "target red" not in outcome.output and "target blue" in outcome.output
    assert "Epoch 1/" not in outcome.output and "Epoch 3/" in outcome.output
    assert timeless(folder) == timeless(whole)


def test_a_finished_run_is_reported_from_its_metrics(learn, learn_once, tmp_path):
    shutil.copytree(learn_once(*PAIR)[1], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "targets")
    again, _ = learn(*PAIR)
    assert "is finished" in again.output and "mean" in again.output


@pytest.mark.parametrize("kept", ["splits.json", "reference_splits.json"])
def test_a_run_does_not_go_on_with_other_images_in_either_stream(learn, learn_once, tmp_path, kept):
    shutil.copytree(learn_once(*ALONE)[1], tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    splits = json.loads((tmp_path / "run" / kept).read_text())
    splits["train"].pop()
    (tmp_path / "run" / kept).write_text(json.dumps(splits))
    outcome, _ = learn(*ALONE)
    assert outcome.status == 2
    assert "the images changed since this run began (1 were added to a split" in outcome.error


def test_predict_and_evaluate_say_that_there_are_no_classes(learn_once, command, own_folder):
    _, folder = learn_once(*ALONE)
    assert "task=one_class" in command("evaluate.py", folder).error
    assert "task=one_class" in command("predict.py", folder, own_folder).error


# ---------------------------------------------------------------- which images are what


def chosen(config):
    from data.datasets import open_dataset

    dataset = open_dataset(config.data, config.seed)
    reference = open_dataset(config.reference, config.seed)
    return dataset, reference, targets(config, dataset, reference)


def test_aliens_are_the_other_classes_test_images(make):
    dataset, reference, [target] = chosen(make("one_class.target=red"))
    tested = dataset.splits["test"]
    assert sorted([*target.test, *target.aliens]) == sorted(tested)
    assert set(dataset.labels[target.test]) == {2}
    assert set(dataset.labels[target.aliens]) == {0, 1}
    assert set(target.templates) == set(target.train) and not len(target.reference_aliens)
    np.testing.assert_array_equal(target.reference_train, reference.splits["train"])


def test_the_reference_s_test_images_are_aliens_if_asked(make):
    _, reference, [target] = chosen(make("one_class.target=0", "one_class.reference_aliens=true"))
    np.testing.assert_array_equal(target.reference_aliens, reference.splits["test"])
    assert target.truth().sum() == len(target.test)


def test_no_more_templates_than_asked(make):
    _, _, [target] = chosen(make("one_class.target=red", "one_class.templates=3"))
    assert len(target.templates) == 3 and set(target.templates) < set(target.train)


def test_a_reference_of_the_same_data_never_shows_the_target_nor_an_alien(make, own_folder):
    dataset, _, [target] = chosen(
        make(
            f"reference.path={own_folder}",
            "one_class.target=red",
            "one_class.reference_aliens=true",
        )
    )
    for indices in (target.reference_train, target.reference_aliens):
        assert set(dataset.labels[indices]) == {0, 1}
    assert not len(target.aliens)  # the network has seen blue and green


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["one_class.target=pink"], ["one_class.target=pink", "blue, green, red"]),
        (["one_class.target=3"], ["one_class.target=3", "0 to 2"]),
        (["one_class.target=[]"], ["one_class.target=[]"]),
        (["reference.image_size=16"], ["reference.image_size=16", "32"]),
        (["reference.path=nowhere"], ["nowhere"]),
        (["trainer.batch_size=1"], ["trainer.batch_size=1", "trainer.batch_size>1"]),
        (["loss=softmax"], ["loss=softmax", "compactness"]),
        (["solver=svm"], ["solver=svm"]),
        (["head.embedding=8"], ["head.embedding=8", "one_class.rank"]),
        (["trainer.classes_per_batch=2"], ["trainer.classes_per_batch=2"]),
        (["one_class.templates=1"], ["one_class.templates=1"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line(learn, overrides, words):
    outcome, folder = learn(*overrides)
    assert outcome.status == 2
    for word in words:
        assert word in outcome.error
    assert not (folder / "metrics.json").exists()


def test_no_reference(make_config):
    with pytest.raises(UserError, match="data@reference=NAME"):
        make_config("task=one_class", "loss=compactness")


def test_a_reference_that_leaves_no_alien(learn, own_folder):
    outcome, _ = learn(f"reference.path={own_folder}", "one_class.target=red")
    assert "none is alien" in outcome.error


def test_a_reference_that_is_left_with_one_class(learn, own_folder):
    outcome, _ = learn(
        f"reference.path={own_folder}", "reference.limit_classes=2", "one_class.target=blue"
    )
    assert "leaves the reference with one class" in outcome.error


def test_a_target_with_one_image_to_train_on(learn, own_folder, tmp_path):
    shutil.copytree(own_folder, tmp_path / "few")
    for image in sorted((tmp_path / "few" / "red").iterdir())[3:]:
        image.unlink()
    outcome, _ = learn(f"data.path={tmp_path / 'few'}", "one_class.target=red")
    assert "'red'" in outcome.error or "one_class.target=red" in outcome.error
