"""Checks of a configuration beyond the types of `conf/schema.py`: ranges, rules, unused options."""

import dataclasses
import json
import math
import operator
import re
from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from conf.schema import (
    LOSSES,
    Config,
    EmbeddingInit,
    Loss,
    Pooling,
    Solver,
    Task,
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


AT_LEAST_0, AT_LEAST_1, AT_LEAST_2 = Range(0), Range(1), Range(2)
POSITIVE = Range(0, open_least=True)
SHARE, PROPER_SHARE = Range(0, 1), Range(0, 1, open_most=True)

RANGES = {
    "seed": Range(0, 2**32 - 1),
    "data.image_size": Range(8),
    "data.crop_ratio": Range(0, 1, open_least=True),
    "data.val_fraction": PROPER_SHARE,
    "data.test_fraction": PROPER_SHARE,
    "data.limit": AT_LEAST_1,
    "data.limit_classes": AT_LEAST_2,
    "head.iterations": AT_LEAST_1,
    "head.epsilon": AT_LEAST_0,
    "head.output_dim": AT_LEAST_1,
    "head.reduction": AT_LEAST_1,
    "head.dropout": PROPER_SHARE,
    "head.embedding": AT_LEAST_1,
    "loss.label_smoothing": SHARE,
    "loss.margin": AT_LEAST_0,
    "loss.compactness_weight": AT_LEAST_0,
    "loss.center_weight": AT_LEAST_0,
    "loss.center_alpha": SHARE,
    "optimizer.learning_rate": POSITIVE,
    "optimizer.momentum": PROPER_SHARE,
    "optimizer.weight_decay": AT_LEAST_0,
    "optimizer.clip_norm": POSITIVE,
    "optimizer.accumulation_steps": AT_LEAST_2,
    "optimizer.warmup_epochs": AT_LEAST_0,
    "optimizer.step_epochs": AT_LEAST_1,
    "optimizer.factor": Range(0, 1, open_least=True),
    "optimizer.plateau_epochs": AT_LEAST_1,
    "optimizer.fine_tune_learning_rate": POSITIVE,
    "optimizer.classifier_factor": AT_LEAST_0,
    "trainer.batch_size": AT_LEAST_1,
    "trainer.classes_per_batch": AT_LEAST_1,
    "trainer.pictures_per_class": AT_LEAST_1,
    "trainer.epochs": AT_LEAST_1,
    "trainer.fine_tune_epochs": AT_LEAST_0,
    "trainer.fine_tune_batch_size": AT_LEAST_1,
    "trainer.early_stopping": AT_LEAST_1,
    "trainer.histogram_epochs": AT_LEAST_1,
    "trainer.checkpoint_seconds": AT_LEAST_0,
    "trainer.descriptor_gib": AT_LEAST_0,
    "one_class.templates": AT_LEAST_2,
    "one_class.neighbours": AT_LEAST_1,
    "one_class.rank": AT_LEAST_1,
}

# An option, or a whole group, and when the program reads it. All conditions of a tuple must hold.
TRAINS = "solver=sgd or trainer.fine_tune_epochs>0"
FINE_TUNES = "trainer.fine_tune_epochs>0"
STAGES = ("task=classification|metric_learning|one_class", TRAINS)
TRIPLETS = ("loss=triplet_hard|triplet_semi_hard",)
CENTERS = ("loss=softmax_center",)
USED_WITH: dict[str, tuple[str, ...]] = {
    "reference": ("task=one_class",),
    "one_class": ("task=one_class",),
    "data.train_crop": (f"trainer.feature_store=false or {FINE_TUNES} or data.train_crop=center",),
    "backbone.seed": ("backbone.weights=random",),
    "head.iterations": ("head.root=newton_schulz",),
    "head.epsilon": ("head.root=exact",),
    "head.output_dim": ("head.pooling=compact",),
    "head.method": ("head.pooling=compact",),
    "head.embedding_init": ("head.embedding!=null",),
    "head.embedding_l2": ("task=metric_learning",),
    "head.dropout": (TRAINS,),
    "loss.label_smoothing": ("loss=softmax|softmax_center|compactness", TRAINS),
    "loss.margin": (*TRIPLETS, "loss.soft=false"),
    "loss.soft": ("loss=triplet_hard",),
    "loss.distance_metric": TRIPLETS,
    "loss.global_mining": TRIPLETS,
    "loss.compactness_weight": ("loss=compactness",),
    "loss.center_weight": CENTERS,
    "loss.center_rule": CENTERS,
    "loss.center_alpha": CENTERS,
    "loss.center_normalization": CENTERS,
    "optimizer.learning_rate": ("solver=sgd",),
    "optimizer.momentum": ("optimizer=sgd", TRAINS),
    "optimizer.weight_decay": (TRAINS,),
    "optimizer.clip_norm": (TRAINS,),
    "optimizer.accumulation_steps": (TRAINS,),
    "optimizer.schedule": (TRAINS,),
    "optimizer.warmup_epochs": (TRAINS,),
    "optimizer.step_epochs": ("optimizer.schedule=step", TRAINS),
    "optimizer.factor": ("optimizer.schedule=step|plateau", TRAINS),
    "optimizer.plateau_epochs": ("optimizer.schedule=plateau", TRAINS),
    "optimizer.fine_tune_learning_rate": (FINE_TUNES,),
    "optimizer.classifier_factor": (FINE_TUNES,),
    "trainer.pictures_per_class": ("trainer.classes_per_batch!=null",),
    "trainer.epochs": ("solver=sgd",),
    "trainer.fine_tune_batch_size": (FINE_TUNES,),
    "trainer.early_stopping": (TRAINS,),
    "trainer.descriptor_gib": ("trainer.feature_store=true",),
    "trainer.histogram_epochs": STAGES,
    "trainer.profile": STAGES,
    "trainer.checkpoint_seconds": STAGES,
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
    _check_head(config)
    _check_task(config)
    if config.solver is Solver.svm:
        _check_svm(config)


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
        value = values[key]
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


def _check_head(config: Config) -> None:
    head = config.head
    if head.pooling is not Pooling.second_order:
        for key, value in (("root", head.root and head.root.value), ("centered", head.centered)):
            if value:
                raise UserError(
                    f"head.{key}={value}: requires head.pooling=second_order, "
                    f"but it is {head.pooling.value}"
                )
    if head.reduction and head.embedding_init is not EmbeddingInit.random:
        raise UserError(
            f"head.embedding_init={head.embedding_init.value}: head.reduction is trained, so the "
            "embedding cannot be initialised from descriptors; set it to random"
        )
    if config.loss.name is Loss.softmax_center and head.embedding is None:
        raise UserError(
            "loss=softmax_center: requires head.embedding, the size of the layer whose outputs "
            "have centers, for example head.embedding=64"
        )


def _check_task(config: Config) -> None:
    task = config.task
    losses = [loss.value for loss in LOSSES[task]]
    if config.loss.name.value not in losses:
        raise UserError(
            f"loss={config.loss.name.value}: task={task.value} accepts {' or '.join(losses)}"
        )
    if task is Task.metric_learning and config.head.embedding is None:
        raise UserError(
            "head.embedding=null: task=metric_learning requires its number of units, for example "
            "head.embedding=512"
        )
    required: dict[Task, tuple[tuple[str, str, str], ...]] = {
        Task.classification: (),
        Task.metric_learning: (("solver", "sgd", "trains by gradient steps"),),
        Task.one_class: (
            ("solver", "sgd", "trains by gradient steps"),
            ("head.embedding", "null", "learns one_class.rank directions of the descriptors"),
            ("trainer.classes_per_batch", "null", "has batches of its own"),
        ),
        Task.post_mortem: (
            ("solver", "sgd", "trains every head by gradient steps"),
            ("head", "improved_bilinear", "rebuilds this head"),
            ("head.reduction", "null", "pools each feature map once"),
            ("head.embedding", "null", "classifies the descriptors themselves"),
            ("trainer.feature_store", "true", "pools stored features"),
            ("trainer.fine_tune_epochs", "0", "has no second stage"),
            ("trainer.classes_per_batch", "null", "shuffles all images"),
        ),
    }
    values = _flat(config)
    for key, value, reason in required[task]:
        if values[key] != value:
            raise UserError(f"{key}={values[key]}: task={task.value} {reason}; set it to {value}")
    if task is Task.one_class:
        _check_one_class(config)


def _check_one_class(config: Config) -> None:
    if config.reference is None:
        raise UserError(
            "reference=null: task=one_class requires a second data set, data@reference=NAME"
        )
    if config.reference.image_size != config.data.image_size:
        raise UserError(
            f"reference.image_size={config.reference.image_size}: one network reads both data "
            f"sets; set it to {config.data.image_size}, as data.image_size"
        )
    for key in ("batch_size", "fine_tune_batch_size"):
        if getattr(config.trainer, key) < 2:
            raise UserError(
                f"trainer.{key}={getattr(config.trainer, key)}: the compactness loss compares the "
                "images of a batch; task=one_class requires at least 2"
            )


def _check_svm(config: Config) -> None:
    if config.loss.name is not Loss.softmax:
        raise UserError(f"loss={config.loss.name.value}: requires solver=sgd, not solver=svm")
    if not config.trainer.feature_store:
        raise UserError("solver=svm: requires trainer.feature_store=true; or set solver=sgd")
    for key in ("embedding", "reduction"):
        if (value := getattr(config.head, key)) is not None:
            raise UserError(
                f"solver=svm: cannot train head.{key}={value}; set it to null, or set solver=sgd"
            )
