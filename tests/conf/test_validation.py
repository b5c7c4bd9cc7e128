"""Ranges of numbers, rules between keys, and options that nothing reads."""

import re

import pytest

from conf.schema import Config, dotted
from conf.validation import RULES, unused_options
from errors import UserError

EMBEDDED = ("task=metric_learning", "loss=triplet_hard", "head.embedding=8")
ONE_CLASS = ("task=one_class", "loss=compactness", "data@reference=drawn_birds")


def known_keys() -> set[str]:
    from omegaconf import OmegaConf

    return set(dotted(OmegaConf.to_container(OmegaConf.structured(Config))))


def test_every_checked_key_exists():
    groups = {key.partition(".")[0] for key in known_keys()} | {"fine_tuning"}
    conditions = [*RULES["requires"], *(c for r in RULES["requires"].values() for c in r)]
    conditions += [c for listed in RULES["read_only_with"].values() for c in listed]
    named = {re.split("[!=<>]", part)[0] for c in conditions for part in c.split(" or ")}
    named |= {key for keys in RULES["ranges"].values() for key in keys}
    assert named | set(RULES["read_only_with"]) <= known_keys() | groups


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("seed=-1", "at least 0 and at most 4294967295"),
        ("data.image_size=7", "at least 8"),
        ("data.crop_ratio=0", "above 0 and at most 1"),
        ("data.crop_ratio=1.5", "above 0 and at most 1"),
        ("data.val_fraction=1", "at least 0 and below 1"),
        ("data.test_fraction=-0.1", "at least 0 and below 1"),
        ("data.limit=0", "at least 1"),
        ("data.limit_classes=1", "at least 2"),
        ("head.iterations=0", "at least 1"),
        ("head.epsilon=-1.0", "at least 0"),
        ("head.output_dim=0", "at least 1"),
        ("head.reduction=0", "at least 1"),
        ("head.dropout=1", "at least 0 and below 1"),
        ("head.embedding=0", "at least 1"),
        ("loss.label_smoothing=1.1", "at least 0 and at most 1"),
        ("optimizer.learning_rate=0", "above 0"),
        ("optimizer.learning_rate=nan", "above 0"),
        ("optimizer.momentum=1", "at least 0 and below 1"),
        ("optimizer.weight_decay=-1", "at least 0"),
        ("optimizer.fine_tune_weight_decay=-1", "at least 0"),
        ("optimizer.clip_norm=0", "above 0"),
        ("optimizer.accumulation_steps=1", "at least 2"),
        ("optimizer.step_epochs=0", "at least 1"),
        ("optimizer.factor=0", "above 0 and at most 1"),
        ("optimizer.fine_tune_learning_rate=0", "above 0"),
        ("trainer.epochs=-1", "at least 0"),
        ("trainer.early_stopping=0", "at least 1"),
        ("one_class.templates=1", "at least 2"),
        ("report.top_k=0", "at least 1"),
    ],
)
def test_a_number_outside_its_range_is_named_with_the_range(make_config, override, allowed):
    key, value = override.split("=")
    with pytest.raises(UserError) as error:
        make_config(override)
    assert (
        str(error.value).lower().startswith(f"{key}={float(value) if '.' in value else value}"[:-1])
    )
    assert str(error.value).endswith(f": must be {allowed}")


def test_the_second_data_set_has_the_ranges_of_the_first(make_config):
    with pytest.raises(UserError, match=r"^reference\.limit=0: must be at least 1"):
        make_config(*ONE_CLASS, "reference.limit=0")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("head=average", "head.root=exact"), "head.pooling=average: head.root=exact requires"),
        (("head=average", "head.centered=true"), "head.pooling=average: head.centered=true"),
        (("head=bilinear", "head.function=log"), "head.pooling=second_order: head.function=log"),
        (("head=log_euclidean", "head.function=null"), "head.function=null: head.pooling=spectral"),
        (("head=log_euclidean", "head.epsilon=0"), "head.epsilon=0.0: head.function=log requires"),
        (("head=log_euclidean", "head.root=exact"), "head.pooling=spectral: head.root=exact"),
        (("head=gaussian", "head.centered=true"), "head.centered=true: head.augmented=true"),
        (("head=bilinear", "head.augmented=true"), "head.pooling=second_order: head.augmented"),
        (("head.reduction=4", "head.embedding=4", "head.embedding_init=pca"), "head.reduction=4"),
        (("loss=softmax_center",), "head.embedding=null: loss=softmax_center requires"),
        (("loss=triplet_hard",), "task=classification requires loss=softmax|softmax_center"),
        (("task=metric_learning", "loss=triplet_hard"), "head.embedding=null: task=metric_"),
        ((*EMBEDDED, "solver=svm"), "solver=svm: task=metric_learning requires solver=sgd"),
        (("task=one_class", "loss=compactness"), "reference=null: task=one_class requires"),
        ((*ONE_CLASS, "reference.image_size=32"), "reference.image_size=32"),
        ((*ONE_CLASS, "solver=svm"), "solver=svm: task=one_class"),
        ((*ONE_CLASS, "head.embedding=8"), "head.embedding=8: task=one_class"),
        ((*ONE_CLASS, "trainer.batch_size=1"), "trainer.batch_size=1: task=one_class"),
        ((*ONE_CLASS, "trainer.classes_per_batch=2"), "trainer.classes_per_batch=2"),
        (("task=post_mortem", "head=average"), "head=average: task=post_mortem"),
        (("task=post_mortem", "trainer.fine_tune_epochs=1"), "requires trainer.fine_tune_epochs=0"),
        (("task=post_mortem", "trainer.feature_store=false"), "trainer.feature_store=true"),
        (("solver=svm", "loss=softmax_center", "head.embedding=4"), "solver=svm requires loss="),
        (("solver=svm", "trainer.feature_store=false"), "requires trainer.feature_store=true"),
        (("solver=svm", "head.embedding=4"), "head.embedding=4: solver=svm requires"),
        (("solver=svm", "head.reduction=4"), "head.reduction=4: solver=svm requires"),
        (("head=attentive", "optimizer=adamw", "solver=svm"), "head.pooling=attentive: solver=svm"),
        (("head=attentive",), "requires optimizer=adamw or optimizer.learning_rate<1"),
        (("head=class_token", "head.reduction=4"), "head.pooling=class_token: head.reduction=4"),
        (("backbone=keras_hub",), "backbone.preset=null: backbone=keras_hub requires"),
    ],
)
def test_keys_that_do_not_go_together_are_an_error(make_config, overrides, message):
    with pytest.raises(UserError) as error:
        make_config(*overrides)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "unused"),
    [
        (("head.output_dim=64",), "head.output_dim=64"),
        (("head.queries=4",), "head.queries=4"),
        (("head.groups=2",), "head.groups=2"),
        (("backbone=dinov2_base", "backbone.weights=random"), "backbone.weights=random"),
        (("optimizer.depth_factor=0.7",), "optimizer.depth_factor=0.7"),
        (("head=average", "head.epsilon=1e-3"), "head.epsilon=1e-3"),
        (("head=isqrt_cov", "head.epsilon=1e-3"), "head.epsilon=1e-3"),
        (("head=mpn_cov", "head.iterations=3"), "head.iterations=3"),
        (("head=max_exp", "head.epsilon=1e-3"), "head.epsilon=1e-3"),
        (("head=max_exp", "head.exponent=0.5"), "head.exponent=0.5"),
        (("head=power", "head.eta=3"), "head.eta=3"),
        (("head.embedding_l2=false",), "head.embedding_l2=false"),
        (("loss.margin=0.5",), "loss.margin=0.5"),
        ((*EMBEDDED, "loss.soft=true", "loss.margin=0.5"), "loss.margin=0.5"),
        (("loss.center_weight=1",), "loss.center_weight=1"),
        (("one_class.rank=3",), "one_class.rank=3"),
        (("data@reference=drawn_birds",), "data@reference=drawn_birds"),
        (("optimizer=adamw", "optimizer.momentum=0.5"), "optimizer.momentum=0.5"),
        (("optimizer.step_epochs=3",), "optimizer.step_epochs=3"),
        (("optimizer.fine_tune_learning_rate=1",), "optimizer.fine_tune_learning_rate=1"),
        (("optimizer.fine_tune_name=sgd",), "optimizer.fine_tune_name=sgd"),
        (("optimizer.fine_tune_weight_decay=1",), "optimizer.fine_tune_weight_decay=1"),
        (("fine_tuning=published",), "fine_tuning=published"),
        (
            ("solver=svm", "trainer.fine_tune_epochs=1", "optimizer.momentum=0.5"),
            "optimizer.momentum=0.5",
        ),
        (("solver=svm", "optimizer.learning_rate=1"), "optimizer.learning_rate=1"),
        (("trainer.pictures_per_class=3",), "trainer.pictures_per_class=3"),
        (("data.train_crop=random",), "data.train_crop=random"),
        (("++data.train_crop=random",), "++data.train_crop=random"),
        ((*ONE_CLASS, "reference.train_crop=random"), "reference.train_crop=random"),
        (("backbone.weights=imagenet", "backbone.seed=3"), "backbone.seed=3"),
        ((*EMBEDDED, "trainer.calibrate=false"), "trainer.calibrate=false"),
        ((*EMBEDDED, "report.top_k=3"), "report.top_k=3"),
    ],
)
def test_an_option_that_nothing_reads_is_reported(make_config, overrides, unused):
    [message] = unused_options(make_config(*overrides), overrides)
    assert message.startswith(f"{unused}: has no effect without ")


@pytest.mark.parametrize(
    "overrides",
    [
        ("head.epsilon=1e-3", "optimizer.momentum=0.5", "backbone.seed=3"),
        ("head=compact_bilinear", "head.output_dim=64", "head.method=random_maclaurin"),
        (*EMBEDDED, "loss.margin=0.5", "head.embedding_l2=false"),
        (*ONE_CLASS, "one_class.rank=3", "reference.limit=2"),
        ("optimizer.schedule=step", "optimizer.step_epochs=3", "optimizer.factor=0.5"),
        ("trainer.fine_tune_epochs=1", "optimizer.fine_tune_learning_rate=1"),
        (
            "optimizer.fine_tune_name=sgd",
            "solver=svm",
            "optimizer.momentum=0.5",
            "trainer.fine_tune_epochs=1",
        ),
        (
            "optimizer.fine_tune_name=sgd",
            "optimizer=adamw",
            "optimizer.momentum=0.5",
            "trainer.fine_tune_epochs=1",
        ),
        ("fine_tuning=published", "trainer.fine_tune_epochs=1"),
        ("trainer.classes_per_batch=2", "trainer.pictures_per_class=3"),
        ("trainer.feature_store=false", "data.train_crop=random"),
        ("data.train_crop=center", "seed=3", "hydra.job.chdir=false"),
    ],
)
def test_an_option_that_is_read_is_not_reported(make_config, overrides):
    assert not unused_options(make_config(*overrides), overrides)
