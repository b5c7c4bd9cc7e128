"""The two-stage protocol: what each stage reads, and its part of the configuration."""

import numpy as np
import pytest
from scipy.special import log_softmax
from whole_runs import one_worker

from errors import UserError
from evaluation.prediction import predict_views
from experiments import two_stages
from experiments.classification import Classification
from models.parts import StageInput


@pytest.fixture
def stages(own_folder, tmp_path, make_config, monkeypatch):
    """Takes the steps of a classification without training; returns its stages."""

    def run(*overrides: str, certain: bool = False):
        config = make_config(
            "data=image_folder",
            "head=bilinear",
            f"data.path={own_folder}",
            "data.image_size=32",
            "backbone.tap=block1_conv2",
            f"trainer.feature_dir={tmp_path / 'features'}",
            *overrides,
        )
        stages, options = [], run.options
        options.clear()

        def fit_stage(stage, dataset, config, *_):
            options.append(config.optimizer)
            stages.append((stage, experiment.start))
            if certain and stage.name == "head":  # its model maps descriptors to logits
                fit_exactly(stage.model, experiment)
            return {"chosen_epoch": 3}

        monkeypatch.setattr(two_stages, "fit_stage", fit_stage)
        experiment = run.experiment = Classification(config, tmp_path, one_worker())
        experiment.open_data()
        experiment.build_model()
        experiment.train_head()
        experiment.fine_tune()
        return stages

    run.options = []
    return run


def fit_exactly(linear, experiment):
    """Gives a classifier of descriptors weights with which its training images are certain."""
    train = experiment.dataset.splits["train"]
    descriptors = experiment.inputs.evaluation(train)
    targets = 50 * np.eye(3)[experiment.dataset.labels[train]]
    kernel = np.linalg.lstsq(descriptors, targets, rcond=None)[0]
    linear.get_layer("classifier").set_weights([kernel, np.zeros(3)])


def test_each_stage_has_its_part_of_the_configuration(stages):
    (head, _), (fine_tune, _) = stages(
        "trainer.epochs=5",
        "trainer.fine_tune_epochs=2",
        "trainer.batch_size=8",
        "trainer.fine_tune_batch_size=4",
        "optimizer.learning_rate=3",
        "optimizer.fine_tune_learning_rate=0.1",
        "optimizer.depth_factor=0.5",
    )
    assert (head.name, head.first_epoch, head.epochs) == ("head", 0, 5)
    assert (head.batch_size, head.learning_rate, head.rate_factors) == (8, 3, {})
    assert (fine_tune.name, fine_tune.first_epoch, fine_tune.epochs) == ("fine_tune", 5, 2)
    assert (fine_tune.batch_size, fine_tune.learning_rate) == (4, 0.1)
    factors = sorted(fine_tune.rate_factors.values())
    assert factors[-2:] == [10, 10]  # kernel and bias of the classifier
    assert set(factors[:-2]) <= {0.5**above for above in range(8)}  # of the backbone's blocks


@pytest.mark.parametrize(("epochs", "warmup"), [(4, 1.5), (2, 1)])
def test_each_stage_has_clipping_and_warm_up_of_its_own(stages, epochs, warmup):
    stages(
        f"trainer.fine_tune_epochs={epochs}",
        "optimizer.clip_norm=7",
        "optimizer.warmup_epochs=3",
        "optimizer.fine_tune_clip_norm=0.5",
        "optimizer.fine_tune_warmup_epochs=1.5",
    )
    assert [(stage.clip_norm, stage.warmup_epochs) for stage in stages.options] == [
        (7, 3),
        (0.5, warmup),  # half of the stage at most
    ]


def test_the_epoch_that_stage_1_chose_is_a_candidate_of_stage_2(stages):
    (head, _), (fine_tune, _) = stages("trainer.fine_tune_epochs=1")
    assert (head.start_epoch, fine_tune.start_epoch) == (None, 3)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_stage_2_starts_less_certain_than_stage_1_ended(stages, share):
    _, (stage, _) = stages(
        "optimizer=adamw",
        "trainer.fine_tune_epochs=1",
        f"trainer.fine_tune_start_loss={share}",
        certain=True,
    )
    dataset = stages.experiment.dataset
    train = dataset.splits["train"]

    def outputs():
        [logits] = predict_views(stage.model, stage.inputs, train, 8, mirror=False)
        return logits, -log_softmax(logits, axis=1)[np.arange(len(train)), dataset.labels[train]]

    logits, losses = outputs()
    assert losses.mean() < share * np.log(3)
    stage.prepare()
    softer, losses = outputs()
    assert losses.mean() == pytest.approx(share * np.log(3), rel=1e-4)
    np.testing.assert_allclose(logits / softer, np.median(logits / softer), rtol=1e-3)


def test_stage_2_starts_as_certain_as_stage_1_ended_if_that_is_wanted(stages):
    _, (stage, _) = stages("trainer.fine_tune_epochs=1", "trainer.fine_tune_start_loss=0")
    assert stage.prepare is None


def test_the_first_blocks_stay_frozen(stages):
    _, (stage, _) = stages("trainer.fine_tune_epochs=1", "backbone.tap=block2_conv1",
                           "trainer.frozen_blocks=1")  # fmt: skip
    names = {weight.path.split("/")[0] for weight in stage.model.trainable_weights}
    assert names == {"block2_conv1", "classifier"}


def test_half_of_the_blocks_stay_frozen(stages):
    _, (stage, _) = stages("trainer.fine_tune_epochs=1", "backbone.tap=block3_conv1")
    names = {weight.path.split("/")[0] for weight in stage.model.trainable_weights}
    assert names == {"block2_conv1", "block2_conv2", "block3_conv1", "classifier"}


def test_too_many_frozen_blocks_are_refused_before_stage_1(stages):
    with pytest.raises(UserError, match=r"trainer\.frozen_blocks=1: the backbone has 1 block"):
        stages("trainer.fine_tune_epochs=1", "trainer.frozen_blocks=1")


def test_without_epochs_there_is_no_second_stage(stages):
    assert [stage.name for stage, _ in stages()] == ["head"]


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        ((), StageInput.coordinates),
        (("optimizer=adamw",), StageInput.descriptors),
        (("optimizer=adamw", "trainer.stage_1_gib=0"), StageInput.features),
        (("head.reduction=4",), StageInput.features),
        (("trainer.feature_store=false",), StageInput.images),
    ],
)
def test_stage_1_reads_what_is_frozen_and_fits_in_memory(stages, overrides, start):
    [(_, read)] = stages(*overrides)
    assert read is start


def test_stage_2_reads_images_and_trains_the_backbone(stages):
    _, (stage, read) = stages("trainer.fine_tune_epochs=1")
    assert read is StageInput.images
    assert len(stage.model.trainable_weights) == 6  # two convolutions and the classifier
