"""The center loss."""

import warnings

import keras
from keras import ops

from .arguments import attributes, choice, finite, integer
from .control_flow import is_traced
from .inputs import are_labels, at_least_float32, check_embeddings, label_vector

RATES = {"wen": 0.5, "facenet": 0.95}
NORMALIZATIONS = ("half_sum", "half_mean", "mean_elements")
USUAL_CLASS_SAMPLES = 8  # a usual batch may contain this many samples of one class


@keras.saving.register_keras_serializable(package="fgvc")
class CenterLoss(keras.layers.Layer):
    """Squared distance of each embedding from the center of its class (Wen et al. 2016).

    The centers are non-trainable weights that follow the embeddings. They move during training
    only, after the loss is computed. With the n_j samples x_i of class j in the batch:

        wen:      c_j <- c_j - alpha sum_i (c_j - x_i) / (1 + n_j)
        facenet:  c_j <- c_j - (1 - alpha) sum_i (c_j - x_i)

    The sums are over all replicas and, with `accumulation_steps`, over that number of batches. The
    second rule is unstable if (1 - alpha) n_j reaches 2. The layer warns about it when it is
    created if 8 samples of a class are enough, or else when a batch outside a graph has that many.

    The layer computes in float32 under any dtype policy.

    Args:
        num_classes: Integer, the number of classes.
        rule: `"wen"` or `"facenet"`. Defaults to `"wen"`.
        alpha: Float in [0, 1]. With `"wen"`, the learning rate of the centers; `None` means `0.5`.
            With `"facenet"`, the fraction of a center that is kept (`alfa` in FaceNet's code);
            `None` means `0.95`. Defaults to `None`.
        normalization: The mean of the output over a batch of B embeddings of D dimensions.
            `"half_sum"` is sum |x - c|^2 / 2 (the paper), `"half_mean"` is sum |x - c|^2 / (2 B)
            (its authors' code), and `"mean_elements"` is sum |x - c|^2 / (B D) (FaceNet's code).
            Defaults to `"half_mean"`.
        accumulation_steps: Integer of at least 2, the number of batches after which the centers
            move, for an optimizer with `gradient_accumulation_steps`. With `None` they move after
            every batch. Defaults to `None`.

    Call arguments:
        embeddings: The embeddings of a batch.
        labels: Integers, at least 0 and below `num_classes`. In a graph, which cannot raise an
            error, the value of a sample with another label is NaN, and no center follows it.
        training: Boolean, whether the centers move. Defaults to `False`.

    Input shape:
        Embeddings `(batch, dimensions)` and labels `(batch,)` or `(batch, 1)`.

    Output shape:
        `(batch,)`, a value for each embedding. Their mean is the loss. An empty batch has no values
        and moves no center.

    Example:

    >>> center_loss = CenterLoss(num_classes=2)
    >>> x, labels = np.array([[1.0, 3.0], [5.0, 1.0]], "float32"), np.array([0, 0])
    >>> float(ops.mean(center_loss(x, labels, training=True)))  # the initial centers are 0
    9.0
    >>> np.asarray(center_loss.centers).round(4)
    array([[1.    , 0.6667],
           [0.    , 0.    ]], dtype=float32)

    Raises:
        ValueError: If `rule` or `normalization` is unknown, `num_classes` or `accumulation_steps`
            is not such an integer, `alpha` is outside [0, 1], or an input has another shape.
            Outside of a graph, also if a label is not an integer from 0 to `num_classes - 1`.
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
        self.num_classes = integer(num_classes, "num_classes", "an integer of at least 1", 1)
        self.rule = choice(rule, tuple(RATES), "rule")
        alpha = RATES[rule] if alpha is None else alpha
        self.alpha = finite(alpha, "alpha", "at least 0 and at most 1", 0, 1)
        self.normalization = choice(normalization, NORMALIZATIONS, "normalization")
        self.accumulation_steps = accumulation_steps
        if accumulation_steps is not None:
            requirement = "an integer of at least 2, or None"
            steps = integer(accumulation_steps, "accumulation_steps", requirement, 2)
            self.accumulation_steps = steps
        if self._unstable_count() <= USUAL_CLASS_SAMPLES:
            self._warn(f"as soon as a class has {self._unstable_count():.4g} samples in a batch")

    def build(self, embeddings_shape, labels_shape=None):
        check_embeddings(embeddings_shape, self)
        shape = (self.num_classes, embeddings_shape[-1])
        self.centers = self._state("centers", shape)
        # For each class, the sum of c - x, and in the last column the number of samples.
        totals = (shape[0], shape[1] + 1)
        # With this aggregation, an assignment adds the values of all replicas.
        self.batch_totals = self._state("batch_totals", totals, "sum")
        if self.accumulation_steps:
            self.accumulated_totals = self._state("gathered_totals", totals)
            self.batches = self._state("batches", ())

    def call(self, embeddings, labels, training=False):
        x = at_least_float32(embeddings)
        last = self.num_classes - 1
        labels = label_vector(labels, x, self, 0, last)
        valid = are_labels(labels, 0, last)
        labels = ops.where(valid, ops.cast(labels, "int32"), self.num_classes)
        own = ops.take(self.centers, ops.minimum(labels, last), axis=0)
        difference = x - ops.cast(own, x.dtype)
        if training:
            self._follow(ops.stop_gradient(difference), labels)
        squares = ops.where(valid[:, None], ops.square(difference), float("nan"))
        if self.normalization == "mean_elements":
            return ops.mean(squares, axis=1)
        values = 0.5 * ops.sum(squares, axis=1)
        if self.normalization == "half_sum":
            values = values * ops.cast(ops.shape(x)[0], x.dtype)
        return values

    def compute_output_shape(self, embeddings_shape, labels_shape=None):
        return (embeddings_shape[0],)

    def compute_output_spec(self, embeddings, labels=None, training=False):
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        return keras.KerasTensor((embeddings.shape[0],), dtype)

    def get_config(self):
        names = ("num_classes", "rule", "alpha", "normalization", "accumulation_steps")
        return {**super().get_config(), **attributes(self, *names)}

    def reset_accumulation(self):
        """Discard the batches that were accumulated since the centers last moved."""
        if self.accumulation_steps:
            self.accumulated_totals.assign(ops.zeros(self.accumulated_totals.shape))
            self.batches.assign(0.0)

    def _state(self, name, shape, aggregation="only_first_replica"):
        options = {"initializer": "zeros", "trainable": False, "autocast": False}
        return self.add_weight(shape, name=name, aggregation=aggregation, **options)

    def _follow(self, difference, labels):
        ones = ops.ones_like(difference[:, :1])
        terms = ops.concatenate([-difference, ones], axis=1)
        # The last segment is that of labels that are not valid.
        sums = ops.segment_sum(terms, labels, num_segments=self.num_classes + 1)
        self.batch_totals.assign(sums[:-1])
        totals = ops.convert_to_tensor(self.batch_totals)  # now the sums over all replicas
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
        if not is_traced(counts):
            largest = float(ops.max(counts))
            if largest >= self._unstable_count():
                self._warn(f"with {largest:.4g} samples of a class in a batch")

    def _unstable_count(self):
        """Return the number of samples of a class in a batch at which its center diverges."""
        return 2 / (1 - self.alpha) if self.rule == "facenet" and self.alpha < 1 else float("inf")

    def _warn(self, when):
        warnings.warn(
            f"{self.name}: centers under rule='facenet' with alpha={self.alpha} are unstable "
            f"{when}; take a larger alpha, or rule='wen', which is always stable.",
            stacklevel=3,
        )
