"""The one schema behind every YAML file: an unknown key or a wrong type fails, and names itself."""

import contextlib
import dataclasses
import enum
import math
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from errors import UserError


class Task(enum.Enum):
    classification = "classification"
    metric_learning = "metric_learning"
    one_class = "one_class"
    post_mortem = "post_mortem"


PRIMARY_METRIC = {  # of each task's figures, the one that tells the most
    Task.classification: "accuracy",
    Task.metric_learning: "recall_at_1",
    Task.one_class: "auroc",
    Task.post_mortem: "accuracy",
}


class Solver(enum.Enum):
    sgd = "sgd"
    svm = "svm"


class Crop(enum.Enum):
    center = "center"
    random = "random"
    random_resized = "random_resized"


class Pooling(enum.Enum):
    average = "average"
    second_order = "second_order"
    compact = "compact"


class Root(enum.Enum):
    exact = "exact"
    newton_schulz = "newton_schulz"


class CompactMethod(enum.Enum):
    tensor_sketch = "tensor_sketch"
    random_maclaurin = "random_maclaurin"


class EmbeddingInit(enum.Enum):
    random = "random"
    pca = "pca"
    whitening = "whitening"


class Loss(enum.Enum):
    softmax = "softmax"
    softmax_center = "softmax_center"
    triplet_hard = "triplet_hard"
    triplet_semi_hard = "triplet_semi_hard"
    compactness = "compactness"


LOSSES = {  # of each task
    Task.classification: (Loss.softmax, Loss.softmax_center),
    Task.metric_learning: (Loss.triplet_hard, Loss.triplet_semi_hard),
    Task.one_class: (Loss.compactness,),
    Task.post_mortem: (Loss.softmax,),
}


class CenterRule(enum.Enum):
    wen = "wen"
    facenet = "facenet"


class CenterNormalization(enum.Enum):
    half_sum = "half_sum"
    half_mean = "half_mean"
    mean_elements = "mean_elements"


class Distance(enum.Enum):
    l2 = "L2"
    squared_l2 = "squared-L2"
    angular = "angular"  # 1 - cosine


class Optimizer(enum.Enum):
    sgd = "sgd"
    adamw = "adamw"


class Schedule(enum.Enum):
    constant = "constant"
    step = "step"
    cosine = "cosine"
    plateau = "plateau"


class Strategy(enum.Enum):
    auto = "auto"
    none = "none"
    mirrored = "mirrored"
    multi_worker = "multi_worker"


class Precision(enum.Enum):
    auto = "auto"
    float32 = "float32"
    mixed_bfloat16 = "mixed_bfloat16"
    mixed_float16 = "mixed_float16"


@dataclasses.dataclass
class DataConfig:
    name: str = MISSING  # an entry of data/catalog.py, or image_folder
    path: str | None = None  # image_folder: the folder; else where TFDS keeps its data sets
    image_size: int = 224  # pixels, the side of the square that the backbone sees
    crop_ratio: float = 0.875  # image_size / the side that a picture is first scaled to
    keep_aspect: bool = True  # scale the short side; false squashes the picture to a square
    train_crop: Crop = Crop.random_resized  # center, random (position), random_resized (area too)
    mirror: bool = True  # training sees mirrored pictures half of the time
    average_mirror: bool = False  # final figures average a picture and its mirror
    val_fraction: float = 0.2  # of training, where the data set has no validation split; 0: none
    test_fraction: float = 0.2  # of everything, where the data set has no test split
    skip_damaged: bool = False  # leave undecodable pictures out, and count them
    limit: int | None = None  # keep at most so many pictures a class and split
    limit_classes: int | None = None  # keep only the first so many classes


@dataclasses.dataclass
class BackboneConfig:
    name: str = MISSING  # a key of models/backbones.py
    weights: str = "imagenet"  # imagenet, random (He-normal), or a weights file
    tap: str | None = None  # the layer whose output is pooled; null: the last one
    seed: int = 0  # of random weights


@dataclasses.dataclass
class HeadConfig:
    name: str = MISSING
    pooling: Pooling = Pooling.second_order
    centered: bool = False  # subtract the mean over positions: covariance, not second moment
    root: Root | None = None  # of the pooled matrix
    iterations: int = 5  # of newton_schulz
    epsilon: float = 1e-5  # added to the diagonal under an exact root, relative to the trace
    signed_root: bool = False  # sign(x) sqrt(|x|)
    l2: bool = True  # unit norm, each picture by itself
    output_dim: int = 8192  # of compact pooling
    method: CompactMethod = CompactMethod.tensor_sketch  # of compact pooling
    reduction: int | None = None  # channels of a trained 1x1 convolution before pooling
    standardize: bool = True  # frozen descriptors less their mean, over one scale
    dropout: float = 0.0  # of what embedding or classifier sees
    embedding: int | None = None  # units of a trained linear layer before the classifier, if any
    embedding_init: EmbeddingInit = EmbeddingInit.random  # others: of the training descriptors
    embedding_l2: bool = True  # unit norm of embeddings, for task=metric_learning


@dataclasses.dataclass
class LossConfig:
    name: Loss = MISSING
    label_smoothing: float = 0.0  # of softmax, and of compactness' cross-entropy
    margin: float = 0.2  # of the triplet losses
    soft: bool = False  # triplet_hard: softplus instead of a margin
    distance_metric: Distance = Distance.l2  # of the triplet losses
    global_mining: bool = True  # triplets of the whole batch; false: of each replica's part alone
    compactness_weight: float = 0.1  # compactness: lambda, its factor beside cross-entropy
    center_weight: float = 0.003  # softmax_center: of the center loss beside the softmax loss
    center_rule: CenterRule = CenterRule.wen  # how centers follow; see losses/center_loss.py
    center_alpha: float | None = None  # wen: rate, null for 0.5; facenet: share kept, for 0.95
    center_normalization: CenterNormalization = CenterNormalization.half_mean


@dataclasses.dataclass
class OptimizerConfig:
    name: Optimizer = MISSING
    learning_rate: float = 1.0
    momentum: float = 0.9  # sgd only
    weight_decay: float = 0.0
    clip_norm: float | None = None  # of the whole gradient
    accumulation_steps: int | None = None  # batches whose gradients make one step; at least 2
    schedule: Schedule = Schedule.cosine
    warmup_epochs: float = 0.0
    step_epochs: int = 20  # schedule=step: between two drops
    factor: float = 0.1  # of a drop, for step and plateau
    plateau_epochs: int = 5  # schedule=plateau: epochs without a better val_loss before a drop
    fine_tune_learning_rate: float = 1e-3  # stage 2
    classifier_factor: float = 10.0  # stage 2: the classifier learns so many times faster


@dataclasses.dataclass
class TrainerConfig:
    batch_size: int = 32
    classes_per_batch: int | None = None  # balances training batches, which then have as many
    pictures_per_class: int = 4  # samples as these two say, in both stages
    epochs: int = 50  # stage 1: the head on the frozen backbone
    fine_tune_epochs: int = 0  # stage 2: everything, from pictures
    fine_tune_batch_size: int = 16
    early_stopping: int | None = None  # epochs without one that validates better
    feature_store: bool = True  # frozen features are computed once and kept on disk
    feature_dir: str = "features"
    histogram_epochs: int = 5  # from one histogram of weights and updates to the next
    profile: bool = False  # record batches 10 to 20 of each stage for TensorBoard's profiler
    checkpoint_seconds: float = 30.0  # at least so long between two states to resume from
    descriptor_gib: float = 4.0  # stage 1 keeps pooled descriptors in memory up to this size
    precision: Precision = Precision.float32  # of the backbone; auto measures float32 and bfloat16
    strategy: Strategy = Strategy.auto  # auto: all GPUs, all workers of TF_CONFIG or Slurm


@dataclasses.dataclass
class OneClassConfig:
    target: Any = "all"  # a class, by name or number; several in turn: a list, or all
    templates: int = 40  # training pictures that scorers compare with; all where there are fewer
    neighbours: int = 1  # templates whose distance counts, the mean where there are several
    rank: int = 64  # directions that the adapter of the frozen descriptors changes, at most
    reference_aliens: bool = False  # the reference's test pictures are aliens too


@dataclasses.dataclass
class Config:
    seed: int = 0
    force: bool = False  # repeat a run that its folder holds already
    task: Task = Task.classification
    solver: Solver = Solver.sgd  # of stage 1; svm: linear, one against the rest, C = 1
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    reference: DataConfig | None = None  # task=one_class: the other stream; data@reference=NAME
    backbone: BackboneConfig = dataclasses.field(default_factory=BackboneConfig)
    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    one_class: OneClassConfig = dataclasses.field(default_factory=OneClassConfig)


RANGES = {  # least and most, both allowed; what a builder checks itself is not here
    "seed": (0, 2**32 - 1),
    "trainer.batch_size": (1, math.inf),
    "trainer.classes_per_batch": (1, math.inf),
    "trainer.pictures_per_class": (1, math.inf),
    "trainer.epochs": (1, math.inf),
    "trainer.fine_tune_epochs": (0, math.inf),
    "trainer.fine_tune_batch_size": (1, math.inf),
    "trainer.early_stopping": (1, math.inf),
    "trainer.histogram_epochs": (1, math.inf),
    "trainer.descriptor_gib": (0, math.inf),
    "optimizer.fine_tune_learning_rate": (1e-12, math.inf),
    "optimizer.classifier_factor": (0, math.inf),
    "optimizer.factor": (1e-12, 1),
    "optimizer.plateau_epochs": (1, math.inf),
    "optimizer.warmup_epochs": (0, math.inf),
    "optimizer.accumulation_steps": (2, math.inf),
    "head.embedding": (1, math.inf),
    "loss.label_smoothing": (0, 1),
    "loss.compactness_weight": (0, math.inf),
    "one_class.templates": (2, math.inf),
    "one_class.neighbours": (1, math.inf),
    "one_class.rank": (1, math.inf),
    "loss.margin": (0, math.inf),
    "loss.center_weight": (0, math.inf),
    "loss.center_alpha": (0, 1),
}

ConfigStore.instance().store(name="schema", node=Config)


def checked(config: DictConfig) -> Config:
    """The configuration as plain objects; `+key=value`, which Hydra lets pass, is checked too.

    Raises:
        omegaconf.errors.OmegaConfBaseException: an unknown key, a wrong type, a missing value.
        UserError: a number outside its range; a loss that is not the task's.
    """
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    for key, (least, most) in RANGES.items():
        group, _, name = key.rpartition(".")
        value = getattr(getattr(config, group) if group else config, name)
        if value is not None and not least <= value <= most:
            upper = f" and at most {most:g}" if math.isfinite(most) else ""
            raise UserError(f"{key}={value}: must be at least {least:g}{upper}")
    losses = [loss.value for loss in LOSSES[config.task]]
    if config.loss.name.value not in losses:
        raise UserError(
            f"loss={config.loss.name.value}: task={config.task.value} takes {' or '.join(losses)}"
        )
    return config


@contextlib.contextmanager
def reference_is_named():
    """Tells of `reference.KEY=VALUE` where no reference is: composing fails there, unexplained.

    Raises:
        UserError: instead of that failure.
    """
    try:
        yield
    except AssertionError as error:
        if str(error) != "Unexpected type for root: NoneType":
            raise
        raise UserError(
            "reference.KEY=VALUE: there is no reference yet; name its data set too, as in "
            "data@reference=drawn_birds"
        ) from error


def dotted(config: dict) -> dict:
    """`{"seed": 0, "head": {"name": "average"}}` as `{"seed": 0, "head.name": "average"}`."""
    found = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            found[key] = value
    return found
