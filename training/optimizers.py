"""Optimizers that can let one part of a model learn faster than the rest."""

import keras
import tensorflow as tf

from conf.schema import Optimizer, OptimizerConfig


def build_optimizer(
    config: OptimizerConfig, learning_rate: float, fast_variables: list | None = None
) -> keras.optimizers.Optimizer:
    """SGD with momentum, or AdamW; weight decay is decoupled in both.

    Args:
        config: see `conf/schema.py`.
        learning_rate: the rate before any schedule.
        faster: variables whose rate is `config.classifier_factor` times as high; their weight
            decay is not. Default: none.

    Raises:
        UserError: a value out of its range.
    """
    kind = {Optimizer.sgd: keras.optimizers.SGD, Optimizer.adamw: keras.optimizers.AdamW}
    options = {"momentum": config.momentum} if config.name is Optimizer.sgd else {}
    optimizer = _with_rates(kind[config.name])(
        learning_rate=learning_rate,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        gradient_accumulation_steps=config.accumulation_steps,
        **options,
    )
    optimizer.fast_variables = {variable.path for variable in fast_variables or []}
    optimizer.factor = config.classifier_factor
    optimizer.watching = keras.Variable(False, dtype="bool", trainable=False, name="watching")
    return optimizer


def _with_rates(kind: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """`kind` with `factor` on the learning rate of each variable whose path is in `faster`.

    Scaling the gradients instead would do nothing under Adam, which divides by their size.

    While `watching`, each step keeps the norms of its gradients, before clipping, in
    `gradient_norms`.

    Where several replicas train, their gradients are added up first, and not after clipping, as
    Keras does: what is clipped and watched is the gradient of the whole batch.
    """

    class WithRates(kind):
        def build(self, variables):
            super().build(variables)
            self.factors = [
                self.factor if v.path in self.fast_variables else 1.0 for v in variables
            ]
            self.gradient_norms = keras.Variable(
                [0.0] * len(variables),
                trainable=False,
                name="gradient_norms",
                synchronization="on_read",
                aggregation="only_first_replica",
            )

        def apply(self, grads, trainable_variables=None):
            grads = _summed(grads)
            super().apply(grads, trainable_variables)
            kept = self.gradient_norms
            kept.assign(
                keras.ops.cond(self.watching.value, lambda: _norms(grads), lambda: kept.value)
            )

        def _all_reduce_sum_gradients(self, grads_and_vars):
            return grads_and_vars  # they are summed already

        def update_step(self, gradient, variable, learning_rate):
            factor = self.factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate * factor)

    return WithRates


def _summed(grads: list) -> list:
    """The gradients of all replicas together."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return grads
    known = [g for g in grads if g is not None]
    totals = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, known))
    return [None if g is None else next(totals) for g in grads]


def _norms(grads: list):
    flat = [None if g is None else keras.ops.ravel(g) for g in grads]
    return keras.ops.stack([0.0 if g is None else keras.ops.norm(g) for g in flat])
