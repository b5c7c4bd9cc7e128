"""Center loss: the distance of each embedding from a running center of its class."""

import warnings

import keras
from keras import ops

from . import pairwise

RATES = {"wen": 0.5, "facenet": 0.95}
NORMALIZATIONS = ("half_sum", "half_mean", "mean_elements")
FEW_PLACES = 8  # a class fills so many places of a batch without anything being wrong


@keras.saving.register_keras_serializable(package="fgvc")
class CenterLoss(keras.layers.Layer):
    """Distance of embeddings from their class's center, which follows them (Wen et al. 2016).

    A center is a state, not a trained weight: it changes in training only, after the loss has been
    taken, and is saved with the model. With n_j the samples of class j in the batch:

        wen:      c_j <- c_j - alpha sum_{i of j} (c_j - x_i) / (1 + n_j)
        facenet:  c_j <- c_j - (1 - alpha) sum_{i of j} (c_j - x_i)

    The second is unstable where (1 - alpha) n_j reaches 2: a warning says so, at once where few
    samples of a class are enough, else when a batch outside of a graph has so many. Sums are those
    of all replicas and, with `accumulation_steps`, of so many batches.

    Computed in float32, whatever the dtype policy.

    Args:
        num_classes: Integer, the number of classes.
        rule: `"wen"` or `"facenet"`. Defaults to `"wen"`.
        alpha: Float in [0, 1]. With `"wen"` the rate of the centers, by default `0.5`; with
            `"facenet"` the share of a center that is kept (there `alfa`), by default `0.95`.
        normalization: what the mean of the values is, over a batch of B embeddings of D dimensions.
            `"half_sum"`: sum |x - c|^2 / 2 (the paper); `"half_mean"`: that over B (its authors'
            code); `"mean_elements"`: sum |x - c|^2 / (B D) (FaceNet's code).
            Defaults to `"half_mean"`.
        accumulation_steps: Integer, the batches after which the centers move, as for an optimizer
            with `gradient_accumulation_steps`; `None` for one. Defaults to `None`.

    Call arguments:
        embeddings: `(batch, dimensions)`.
        labels: Integers, `(batch,)` or `(batch, 1)`, at least 0 and below `num_classes`. (A
            backend may take others without a word: TensorFlow negative ones, as Python does.)
        training: Boolean, whether the centers move. Defaults to `False`.

    Output shape:
        `(batch,)`, a value for each embedding; their mean is the loss.

    Example:

    >>> center_loss = CenterLoss(num_classes=2)
    >>> x, labels = np.array([[1.0, 3.0], [5.0, 1.0]], "float32"), np.array([0, 0])
    >>> float(ops.mean(center_loss(x, labels, training=True)))  # the centers begin at 0
    9.0
    >>> np.asarray(center_loss.centers).round(4)
    array([[1.    , 0.6667],
           [0.    , 0.    ]], dtype=float32)

    Raises:
        ValueError: an unknown `rule` or `normalization`, an `alpha` outside of [0, 1],
            `accumulation_steps` below 2, or inputs of another shape.
    """

    def __init__(
        self,
        num_classes,
        rule="wen",
        alpha=None,
        normalization="half_mean",
        accumulation_steps=None,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32", **kwargs})
        if rule not in RATES:
            raise ValueError(f"`rule` must be one of {tuple(RATES)}. Received: {rule!r}")
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                f"`normalization` must be one of {NORMALIZATIONS}. Received: {normalization!r}"
            )
        alpha = RATES[rule] if alpha is None else alpha
        if not 0 <= alpha <= 1:
            raise ValueError(f"`alpha` must be at least 0 and at most 1. Received: {alpha}")
        if accumulation_steps is not None and accumulation_steps < 2:
            raise ValueError(
                f"`accumulation_steps` must be at least 2, or None. Received: {accumulation_steps}"
            )
        self.num_classes = num_classes
        self.rule = rule
        self.alpha = alpha
        self.normalization = normalization
        self.accumulation_steps = accumulation_steps
        if self._most_samples() <= FEW_PLACES:
            self._warn(f"as soon as a class has {self._most_samples():.4g} samples in a batch")

    def build(self, embeddings_shape, labels_shape=None):
        pairwise.check_embeddings(embeddings_shape, self)
        shape = (self.num_classes, embeddings_shape[-1])
        self.centers = self._state("centers", shape)
        # Of each class the sum of c - x, and in a last column the number of its samples.
        totals = (shape[0], shape[1] + 1)
        # Assigning adds up what the replicas assign.
        self.batch_totals = self._state("batch_totals", totals, "sum")
        if self.accumulation_steps:
            self.accumulated_totals = self._state("gathered_totals", totals)
            self.batches = self._state("batches", ())

    def _state(self, name, shape, aggregation="only_first_replica"):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer="zeros",
            trainable=False,
            autocast=False,
            aggregation=aggregation,
        )

    def call(self, embeddings, labels, training=False):
        x = pairwise.at_least_float32(embeddings)
        labels = ops.cast(pairwise.label_vector(labels, self), "int32")
        difference = x - ops.cast(ops.take(self.centers, labels, axis=0), x.dtype)
        if training:
            self._follow(ops.stop_gradient(difference), labels)
        squares = ops.square(difference)
        if self.normalization == "mean_elements":
            return ops.mean(squares, axis=1)
        values = 0.5 * ops.sum(squares, axis=1)
        if self.normalization == "half_sum":
            values = values * ops.cast(ops.shape(x)[0], x.dtype)
        return values

    def _follow(self, difference, labels):
        ones = ops.ones_like(difference[:, :1])
        rows = ops.concatenate([-difference, ones], axis=1)
        self.batch_totals.assign(ops.segment_sum(rows, labels, num_segments=self.num_classes))
        totals = ops.convert_to_tensor(self.batch_totals)  # read again: of all replicas
        if not self.accumulation_steps:
            self._move(totals)
            return
        totals = totals + self.accumulated_totals
        batches = self.batches + 1
        due = batches >= self.accumulation_steps
        self._move(ops.where(due, totals, 0.0))
        self.accumulated_totals.assign(ops.where(due, 0.0, totals))
        self.batches.assign(ops.where(due, 0.0, batches))

    def _move(self, totals):
        sums, counts = totals[:, :-1], totals[:, -1:]
        if self.rule == "wen":
            self.centers.assign(self.centers - self.alpha * sums / (1.0 + counts))
            return
        self.centers.assign(self.centers - (1.0 - self.alpha) * sums)
        if not pairwise.is_traced(counts):
            most = float(ops.max(counts))
            if most >= self._most_samples():
                self._warn(f"with {most:.4g} samples of a class in a batch")

    def reset_accumulation(self):
        """Forget the batches that were gathered since the centers last moved."""
        if self.accumulation_steps:
            self.accumulated_totals.assign(ops.zeros(self.accumulated_totals.shape))
            self.batches.assign(0.0)

    def _most_samples(self):
        """The samples of a class in a batch from which on its center swings ever wider."""
        return 2 / (1 - self.alpha) if self.rule == "facenet" and self.alpha < 1 else float("inf")

    def _warn(self, when):
        warnings.warn(
            f"{self.name}: centers under rule='facenet' with alpha={self.alpha} are unstable "
            f"{when}; take a larger alpha, or rule='wen', which is always stable.",
            stacklevel=3,
        )

    def compute_output_shape(self, embeddings_shape, labels_shape=None):
        return (embeddings_shape[0],)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_classes": self.num_classes,
                "rule": self.rule,
                "alpha": self.alpha,
                "normalization": self.normalization,
                "accumulation_steps": self.accumulation_steps,
            }
        )
        return config
