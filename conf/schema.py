"""The schema of the configuration: every key with its type, default and unit.

Hydra and OmegaConf refuse unknown keys and wrong types; `conf/validation.yaml` has the other rules.
"""

import dataclasses
import enum
import json
import re
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

Task = enum.StrEnum("Task", ["classification", "metric_learning", "one_class", "post_mortem"])
Solver = enum.StrEnum("Solver", ["sgd", "svm", "logistic"])
Crop = enum.StrEnum("Crop", ["center", "random", "random_resized"])
Region = enum.StrEnum("Region", ["image", "box"])
BoxFormat = enum.StrEnum("BoxFormat", ["xyxy", "xywh"])
Pooling = enum.StrEnum(
    "Pooling",
    [
        "average",
        "second_order",
        "spectral",
        "compact",
        "class_token",
        "attentive",
        "moment_probing",
    ],
)
Root = enum.StrEnum("Root", ["exact", "newton_schulz"])
Function = enum.StrEnum("Function", ["root", "power", "log", "inverse", "max_exp"])
CompactMethod = enum.StrEnum("CompactMethod", ["tensor_sketch", "random_maclaurin"])
EmbeddingInit = enum.StrEnum("EmbeddingInit", ["random", "pca", "whitening"])
Loss = enum.StrEnum(
    "Loss", ["softmax", "softmax_center", "triplet_hard", "triplet_semi_hard", "compactness"]
)
CenterRule = enum.StrEnum("CenterRule", ["wen", "facenet"])
CenterNormalization = enum.StrEnum(
    "CenterNormalization", ["half_sum", "half_mean", "mean_elements"]
)
Optimizer = enum.StrEnum("Optimizer", ["sgd", "adamw"])
Schedule = enum.StrEnum("Schedule", ["constant", "step", "cosine", "plateau"])
Strategy = enum.StrEnum("Strategy", ["auto", "none", "mirrored", "multi_worker"])
Precision = enum.StrEnum("Precision", ["auto", "float32", "mixed_bfloat16", "mixed_float16"])


class Distance(enum.Enum):
    l2 = "L2"
    squared_l2 = "squared-L2"
    angular = "angular"  # 1 - cosine


PRIMARY_METRIC = {  # the metric that selects epochs, sorts sweeps and is returned to a sweeper
    Task.classification: "accuracy",
    Task.metric_learning: "recall_at_1",
    Task.one_class: "auroc",
    Task.post_mortem: "accuracy",
}


@dataclasses.dataclass
class DataConfig:
    name: str = MISSING  # an entry of data/catalog.py or a key of data/datasets.py
    path: str | None = None  # the folder or the list of images, or the folder of TFDS data sets
    image_size: int = 224  # pixels, the side of the square that the backbone sees
    crop: Region = Region.image  # what is read: the whole image, or its box, if the data have boxes
    box_margin: float = 0.1  # added on each side of a box, as a fraction of its width and height
    crop_ratio: float = 0.875  # image_size / the side that the image is first scaled to
    keep_aspect: bool = True  # scale the short side; false stretches the image to a square
    train_crop: Crop = Crop.random_resized  # training from images; random moves, resized scales too
    mirror: bool = True  # mirror half of the training images
    average_mirror: bool = False  # evaluation: average an image and its mirror image
    val_fraction: float = 0.2  # of the training split, if there is no validation split; 0: none
    test_fraction: float = 0.2  # of all images, if there is no test split
    split_folders: bool = True  # image_folder: train, val, test are splits; false: classes
    root: str | None = None  # image_list: folder that the paths are relative to; null: the list's
    path_column: str = "path"  # image_list: name of a column; without a header its number, from 1
    label_column: str = "label"
    split_column: str | None = "split"  # if there is such a column; null: the splits are drawn
    coarse_column: str | None = "coarse"  # coarse label, if there is such a column; null: not read
    box_columns: list[str] = dataclasses.field(default_factory=lambda: ["box"])  # one or four
    box_format: BoxFormat = BoxFormat.xyxy  # left, top, right, bottom; xywh: left, top and size
    skip_damaged: bool = False  # skip and count images that cannot be decoded
    max_pixels: int = 250_000_000  # larger images are refused: width times height
    limit: int | None = None  # images per class and split, at most
    shots: int | None = None  # training images per class, at most, drawn by seed; null: all
    limit_classes: int | None = None  # number of classes; the first ones are kept
    level: str | None = None  # the groups of this level are the classes, such as family; null: none


@dataclasses.dataclass
class BackboneConfig:
    name: str = MISSING  # a key of models/backbones.py; with a preset, any name
    weights: str = "imagenet"  # imagenet, random (He-normal), or a weights file
    tap: str | None = None  # layer, block or level whose output is pooled; null: the last one
    seed: int = 0  # seed of random weights
    preset: str | None = None  # KerasHub: a preset's name, kaggle:// or hf:// address, or folder


@dataclasses.dataclass
class HeadConfig:
    name: str = MISSING
    pooling: Pooling = Pooling.second_order
    centered: bool = False  # subtract the mean over positions: covariance, not second moment
    root: Root | None = None  # matrix root of the pooled matrix; null: none
    iterations: int = 5  # Newton-Schulz iterations
    function: Function | None = None  # spectral pooling: function of the pooled matrix
    exponent: float = 0.25  # function=power: the power, at most 1 (theta in the paper)
    eta: int = 20  # function=max_exp: the power (eta in the paper)
    augmented: bool = False  # spectral pooling: append the mean, which gives the Gaussian embedding
    epsilon: float = 1e-5  # exact root, function: added to the diagonal, relative to the trace
    signed_root: bool = False  # sign(x) sqrt(|x|)
    l2: bool = True  # divide each descriptor by its L2 norm
    output_dim: int = 8192  # dimension of compact pooling
    method: CompactMethod = CompactMethod.tensor_sketch  # projection of compact pooling
    queries: int = 32  # learned queries of attentive pooling
    projection: int = 512  # moment_probing: channels of the trained projection of the tokens
    groups: int = 4  # moment_probing: groups of these channels (heads in the paper)
    reduction: int | None = None  # channels of a trained 1x1 convolution before pooling; null: none
    standardize: bool = True  # subtract the mean (it follows in stage 2), divide by one scale
    dropout: float = 0.0  # dropout rate before the embedding or the classifier
    embedding: int | None = None  # units of a trained linear layer before the classifier
    embedding_init: EmbeddingInit = EmbeddingInit.random  # random, or from training data
    embedding_l2: bool = True  # task=metric_learning: divide each embedding by its L2 norm
    signed_root_epsilon: float = 1e-8  # smallest |x| with its own slope; with l2, of mean |x|


@dataclasses.dataclass
class LossConfig:
    name: Loss = MISSING
    label_smoothing: float = 0.0  # of the cross-entropy
    margin: float = 0.2  # margin of the triplet losses
    soft: bool = False  # triplet_hard: softplus instead of a margin
    distance_metric: Distance = Distance.l2  # of the triplet losses
    global_mining: bool = True  # mine in the whole batch; false: per replica
    compactness_weight: float = 0.1  # weight of the compactness loss (lambda in the paper)
    center_weight: float = 0.003  # weight of the center loss
    center_rule: CenterRule = (
        CenterRule.wen
    )  # update rule of the centers; see losses/center_loss.py
    center_alpha: float | None = None  # wen: rate, null: 0.5; facenet: share kept, null: 0.95
    center_normalization: CenterNormalization = CenterNormalization.half_mean


@dataclasses.dataclass
class OptimizerConfig:
    name: Optimizer = MISSING
    learning_rate: float = 1.0
    momentum: float = 0.9  # sgd only
    weight_decay: float = 0.0  # times the learning rate, in each step
    clip_norm: float | None = None  # stage 1: largest norm of the gradient of all weights
    accumulation_steps: int | None = None  # batches per optimizer step, at least 2; null: 1
    schedule: Schedule = Schedule.cosine
    warmup_epochs: float = 0.0  # stage 1: epochs in which the learning rate rises from 0
    step_epochs: int = 20  # schedule=step: epochs between two drops
    factor: float = 0.1  # factor of a drop, for step and plateau
    plateau_epochs: int = 5  # schedule=plateau: epochs without a better val_loss before a drop
    fine_tune_learning_rate: float | None = None  # stage 2; null: 3e-4 for adamw, 1e-3 for sgd
    classifier_factor: float = 10.0  # stage 2: factor on the learning rate of the classifier
    depth_factor: float = 1.0  # stage 2: factor on a block's rate for each block above it
    fine_tune_clip_norm: float | None = 1.0  # stage 2: largest norm of the gradient
    fine_tune_warmup_epochs: float = 6.0  # stage 2; at most half of its epochs
    fine_tune_name: Optimizer = Optimizer.adamw  # stage 2
    fine_tune_average_epochs: float = 1.0  # stage 2: epochs that weights are averaged over; 0: not
    fine_tune_weight_decay: float | None = None  # stage 2; null: weight_decay


@dataclasses.dataclass
class TrainerConfig:
    batch_size: int = 32
    classes_per_batch: int | None = None  # balanced training batches; null: shuffled ones
    pictures_per_class: int = 4  # images of each class in a balanced batch
    epochs: int = 50  # stage 1: train the head on the frozen backbone; 0: only initialise it
    fine_tune_epochs: int = 0  # stage 2: train the backbone too, from images
    fine_tune_batch_size: int = 16
    early_stopping: int | None = None  # epochs without a better one in the stage; null: no limit
    feature_store: bool = True  # compute frozen features once, of centre crops, and keep them
    feature_dir: str = "features"
    histogram_epochs: int = 5  # epochs between two histograms of weights and updates
    epoch_lines: bool = False  # print Keras' lines of each epoch instead of one bar a stage
    profile: bool = False  # record batches 10 to 20 of each stage for TensorBoard's profiler
    checkpoint_seconds: float = 30.0  # seconds between two saved states, at least
    stage_1_gib: float = 2.0  # memory of stage 1 for descriptors
    calibrate: bool = True  # classification: fit the temperature of the logits on validation images
    precision: Precision = Precision.float32  # of the backbone; auto: the faster one
    strategy: Strategy = Strategy.auto  # auto: all GPUs, and all workers of TF_CONFIG or Slurm
    frozen_blocks: int | None = None  # stage 2: first blocks that stay frozen; null: half of them
    fine_tune_start_loss: float = 0.5  # stage 2: least training loss at the start, in log(classes)


@dataclasses.dataclass
class AugmentConfig:
    name: str = "none"
    operations: int = 0  # RandAugment: operations on each training image
    magnitude: float = 0.5  # RandAugment: strength of the operations, at most 1
    erasing: float = 0.0  # probability with which a rectangle of an image is replaced by noise
    mixup: float = 0.0  # MixUp: alpha of the Beta distribution of the shares of two images; 0: none
    cutmix: float = 0.0  # CutMix: the same for the areas; with MixUp, each batch has one of them


@dataclasses.dataclass
class OneClassConfig:
    target: Any = "all"  # a class by name or number, a list of them, or all
    templates: int = 40  # training images that the scorers compare with, at most
    neighbours: int = 1  # nearest templates whose mean distance is the k-NN score
    rank: int = 64  # largest rank of the adapter of the frozen descriptors
    reference_aliens: bool = False  # the test images of the reference count as aliens too


@dataclasses.dataclass
class ReportConfig:
    top_k: int = 5  # report top-k accuracy too, beside that of 5


@dataclasses.dataclass
class Config:
    seed: int = 0
    force: bool = False  # repeat a run that its folder already holds
    task: Task = Task.classification
    solver: Solver = Solver.sgd  # of stage 1; svm: linear, one against the rest; logistic: L-BFGS
    solver_c: Any = "auto"  # C of svm and logistic: small is smooth; null: chosen on the validation
    # split; auto: 1 for svm, as in the papers, and chosen for logistic
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    reference: DataConfig | None = None  # task=one_class: the second data set, data@reference=NAME
    backbone: BackboneConfig = dataclasses.field(default_factory=BackboneConfig)
    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    one_class: OneClassConfig = dataclasses.field(default_factory=OneClassConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    report: ReportConfig = dataclasses.field(default_factory=ReportConfig)


# Keys on which no result depends.
WITHOUT_EFFECT = {"force", "trainer.feature_dir", "trainer.stage_1_gib", "trainer.epoch_lines"}
RENAMED = {"trainer.descriptor_gib": "trainer.stage_1_gib"}  # keys of earlier versions
# Keys of stage 2 that earlier versions did not have, and the keys that stage 2 read instead.
STAGE_2 = {
    "optimizer.fine_tune_clip_norm": "optimizer.clip_norm",
    "optimizer.fine_tune_warmup_epochs": "optimizer.warmup_epochs",
    "optimizer.fine_tune_name": "optimizer.name",
}


def stage_2_of_earlier_versions(keys: dict[str, Any]) -> dict[str, Any]:
    """Returns the keys of stage 2 that a stored configuration lacks, with the values it used.

    Args:
        keys: the stored configuration, see `dotted`.
    """
    if not keys.get("trainer.fine_tune_epochs"):
        return {}
    earlier = {new: keys[old] for new, old in STAGE_2.items() if old in keys}
    earlier |= {
        "trainer.frozen_blocks": 0,
        "trainer.fine_tune_start_loss": 0.0,
        "optimizer.fine_tune_average_epochs": 0.0,
    }
    return {key: value for key, value in earlier.items() if key not in keys}


ConfigStore.instance().store(name="schema", node=Config)


def nested(config: Config) -> dict[str, Any]:
    """Returns a configuration as nested dictionaries, with the names of choices."""
    return dataclasses.asdict(config, dict_factory=_with_names)


def _with_names(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value.name if isinstance(value, enum.Enum) else value for key, value in items}


def literal(value: Any) -> Any:
    """Escapes a nested value for OmegaConf, which would read `${name}` in a text as a reference."""
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def dotted(config: Any) -> dict[str, Any]:
    """Flattens a configuration: `{"seed": 0, "head.name": "average", ...}`.

    Args:
        config: a nested dictionary, a configuration of OmegaConf, or a `Config`. Choices of the
            latter two become their names.
    """
    if isinstance(config, Config):
        config = nested(config)
    elif not isinstance(config, dict):
        config = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            flat[key] = value
    return flat


def as_text(value: Any) -> str:
    """Returns a value of `dotted` as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)
