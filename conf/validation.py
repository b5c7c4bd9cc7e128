"""Checks of a configuration beyond the types of `conf/schema.py`: ranges, rules, unused options."""

import dataclasses
import json
import math
import operator
import re
from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from conf.schema import (
    Config,
    dotted,
)
from errors import UserError


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a number may take; the bounds are included unless they are named `open`."""

    least: float
    most: float = math.inf
    open_least: bool = False
    open_most: bool = False

    def __contains__(self, value: float) -> bool:
        above = operator.gt if self.open_least else operator.ge
        below = operator.lt if self.open_most else operator.le
        return above(value, self.least) and below(value, self.most)

    def __str__(self) -> str:
        least = f"{'above' if self.open_least else 'at least'} {self.least:g}"
        if math.isinf(self.most):
            return least
        return f"{least} and {'below' if self.open_most else 'at most'} {self.most:g}"


RANGES = {
    key: allowed
    for allowed, keys in {
        Range(0, 2**32 - 1): "seed",
        Range(8): "data.image_size",
        Range(0, 1): "loss.label_smoothing loss.center_alpha",
        Range(0, 1, open_least=True): "data.crop_ratio optimizer.factor",
        Range(0, 1, open_most=True): "data.val_fraction data.test_fraction head.dropout "
        "optimizer.momentum",
        Range(0, open_least=True): "optimizer.learning_rate optimizer.clip_norm "
        "optimizer.fine_tune_learning_rate",
        Range(0): "head.epsilon loss.margin loss.compactness_weight loss.center_weight "
        "optimizer.weight_decay optimizer.warmup_epochs optimizer.classifier_factor "
        "trainer.fine_tune_epochs trainer.checkpoint_seconds trainer.descriptor_gib",
        Range(1): "data.limit head.iterations head.output_dim head.reduction head.embedding "
        "optimizer.step_epochs optimizer.plateau_epochs trainer.batch_size "
        "trainer.classes_per_batch trainer.pictures_per_class trainer.epochs "
        "trainer.fine_tune_batch_size trainer.early_stopping trainer.histogram_epochs "
        "one_class.neighbours one_class.rank",
        Range(2): "data.limit_classes optimizer.accumulation_steps one_class.templates",
    }.items()
    for key in keys.split()
}

TRAINS = "solver=sgd or trainer.fine_tune_epochs>0"
FINE_TUNES = "trainer.fine_tune_epochs>0"
CROPS = f"{FINE_TUNES} or trainer.feature_store=false or data.train_crop=center"
STAGES = "task=classification|metric_learning|one_class"
# Options, or whole groups, and when the program reads them. All conditions of a key must hold.
USED_WITH = {
    key: conditions
    for keys, conditions in {
        "reference one_class": ("task=one_class",),
        "data.train_crop": (
            f"trainer.feature_store=false or {FINE_TUNES} or data.train_crop=center",
        ),
        "backbone.seed": ("backbone.weights=random",),
        "head.iterations": ("head.root=newton_schulz",),
        "head.epsilon": ("head.root=exact",),
        "head.output_dim head.method": ("head.pooling=compact",),
        "head.embedding_init": ("head.embedding!=null",),
        "head.embedding_l2": ("task=metric_learning",),
        "head.dropout": (TRAINS,),
        "loss.label_smoothing": ("loss=softmax|softmax_center|compactness", TRAINS),
        "loss.margin": ("loss=triplet_hard|triplet_semi_hard", "loss.soft=false"),
        "loss.soft": ("loss=triplet_hard",),
        "loss.distance_metric loss.global_mining": ("loss=triplet_hard|triplet_semi_hard",),
        "loss.compactness_weight": ("loss=compactness",),
        "loss.center_weight loss.center_rule loss.center_alpha loss.center_normalization": (
            "loss=softmax_center",
        ),
        "optimizer.learning_rate trainer.epochs": ("solver=sgd",),
        "optimizer.momentum": ("optimizer=sgd", TRAINS),
        "optimizer.weight_decay optimizer.clip_norm optimizer.accumulation_steps": (TRAINS,),
        "optimizer.schedule optimizer.warmup_epochs trainer.early_stopping": (TRAINS,),
        "optimizer.step_epochs": ("optimizer.schedule=step", TRAINS),
        "optimizer.factor": ("optimizer.schedule=step|plateau", TRAINS),
        "optimizer.plateau_epochs": ("optimizer.schedule=plateau", TRAINS),
        "optimizer.fine_tune_learning_rate optimizer.classifier_factor": (FINE_TUNES,),
        "trainer.fine_tune_batch_size": (FINE_TUNES,),
        "trainer.pictures_per_class": ("trainer.classes_per_batch!=null",),
        "trainer.descriptor_gib": ("trainer.feature_store=true",),
        "trainer.histogram_epochs trainer.profile trainer.checkpoint_seconds": (STAGES, TRAINS),
    }.items()
    for key in keys.split()
}
# The options that a choice requires, each with the reason.
RULES = {
    "task=classification": {"loss=softmax|softmax_center": "it trains a classifier"},
    "task=metric_learning": {
        "loss=triplet_hard|triplet_semi_hard": "it trains an embedding",
        "head.embedding!=null": "the units of the embedding, for example 512",
        "solver=sgd": "it trains by gradient steps",
    },
    "task=one_class": {
        "loss=compactness": "it makes the features of the target compact",
        "reference!=null": "a second data set, data@reference=NAME",
        "solver=sgd": "it trains by gradient steps",
        "head.embedding=null": "it learns one_class.rank directions of the descriptors",
        "trainer.classes_per_batch=null": "it has batches of its own",
        "trainer.batch_size>1": "the compactness loss compares the images of a batch",
        "trainer.fine_tune_batch_size>1": "the compactness loss compares the images of a batch",
    },
    "task=post_mortem": {
        "loss=softmax": "it trains classifiers",
        "solver=sgd": "it trains every head by gradient steps",
        "head=improved_bilinear": "it rebuilds this head",
        "head.reduction=null": "it pools each feature map once",
        "head.embedding=null": "it classifies the descriptors themselves",
        "trainer.feature_store=true": "it pools stored features",
        "trainer.fine_tune_epochs=0": "it has no second stage",
        "trainer.classes_per_batch=null": "it shuffles all images",
    },
    "solver=svm": {
        "loss=softmax": "other losses are trained by solver=sgd",
        "trainer.feature_store=true": "it reads stored features; or set solver=sgd",
        "head.embedding=null": "it cannot train an embedding; or set solver=sgd",
        "head.reduction=null": "it cannot train a reduction; or set solver=sgd",
    },
    "loss=softmax_center": {"head.embedding!=null": "the layer whose outputs have centers, as 64"},
    "head.root!=null": {"head.pooling=second_order": "other poolings give no matrix"},
    "head.centered=true": {"head.pooling=second_order": "other poolings have no covariance"},
    "head.embedding_init!=random": {
        "head.reduction=null": "a reduction is trained too, so there are no descriptors yet"
    },
}


def checked(composed: DictConfig) -> Config:
    """Converts a composed configuration to plain objects, and validates it.

    Keys added by `+key=value`, which Hydra accepts, are checked too.

    Raises:
        omegaconf.errors.OmegaConfBaseException: unknown key, wrong type or missing value.
        UserError: see `validate`.
    """
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    assert isinstance(config, Config)
    validate(config)
    return config


def validate(config: Config) -> None:
    """Checks ranges and rules between keys.

    Raises:
        UserError: names the key, its value, and what would be right.
    """
    _check_ranges(config)
    values = _flat(config)
    for choice, requirements in RULES.items():
        for requirement, reason in requirements.items() if _holds(choice, values) else ():
            if not _holds(requirement, values):
                key, chosen = (re.split("[!=>]", each)[0] for each in (requirement, choice))
                raise UserError(
                    f"{key}={values[key]}: {chosen}={values[chosen]} requires {requirement} "
                    f"({reason})"
                )
    size = config.data.image_size
    if config.reference is not None and config.reference.image_size != size:
        raise UserError(
            f"reference.image_size={config.reference.image_size}: one network reads both data "
            f"sets; set it to {size}, as data.image_size"
        )


def unused_options(config: Config, overrides: Iterable[str]) -> list[str]:
    """Returns one message per override that the chosen head, loss, task or solver does not read.

    Args:
        config: the composed configuration.
        overrides: `key=value` texts of the command line.
    """
    values = _flat(config)
    messages = []
    for text in overrides:
        key, _, package = text.lstrip("+~").partition("=")[0].partition("@")
        key = package or key
        group, _, name = key.partition(".")
        of_group = USED_WITH.get(group, ()) if name else ()
        of_key = USED_WITH.get(key.replace("reference.", "data.", 1), ())
        if group == "reference":
            of_key = tuple(condition.replace("data.", "reference.") for condition in of_key)
        unmet = [condition for condition in of_group + of_key if not _holds(condition, values)]
        if unmet:
            messages.append(f"{text}: has no effect without {' and '.join(unmet)}")
    return messages


def _holds(condition: str, values: dict[str, str]) -> bool:
    """Evaluates `key=a|b`, `key!=a` or `key>number`, joined by `or`."""
    for part in condition.split(" or "):
        key, relation, wanted = re.split(r"(!=|=|>)", part)
        value = values.get(key, "")  # a group that is not null has no value
        if relation == ">" and float(value) > float(wanted):
            return True
        if relation != ">" and (value in wanted.split("|")) == (relation == "="):
            return True
    return False


def _flat(config: Config) -> dict[str, str]:
    """Every key, dotted, with its value as on the command line; a group has its name's value."""
    values = dotted(config)
    values |= {key.removesuffix(".name"): value for key, value in values.items()}
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
    }


def _check_ranges(config: Config) -> None:
    for key, allowed in RANGES.items():
        group, _, name = key.rpartition(".")
        # The second data set has the keys of the first one.
        for holder in ("data", "reference") if group == "data" else (group,):
            keys = getattr(config, holder) if holder else config
            value = getattr(keys, name) if keys is not None else None
            if value is not None and value not in allowed:
                raise UserError(f"{holder}.{name}={value}: must be {allowed}".lstrip("."))
