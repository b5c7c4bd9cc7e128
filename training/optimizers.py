"""Optimizers that can train a part of a model at a higher learning rate than the rest."""

from collections.abc import Iterable

import keras

from conf.schema import Optimizer, OptimizerConfig


def build_optimizer(
    config: OptimizerConfig, learning_rate: float, fast_variables: Iterable[keras.Variable] = ()
) -> keras.optimizers.Optimizer:
    """Builds SGD with momentum, or AdamW. Weight decay is decoupled from the gradient in both.

    Args:
        config: see `conf/schema.py`.
        learning_rate: learning rate before any schedule.
        fast_variables: variables whose learning rate is `config.classifier_factor` times as high.
            Their weight decay is not higher. Default: none.
    """
    kind = {Optimizer.sgd: keras.optimizers.SGD, Optimizer.adamw: keras.optimizers.AdamW}
    options = {"momentum": config.momentum} if config.name is Optimizer.sgd else {}
    paths = {variable.path for variable in fast_variables}
    optimizer = _with_two_rates(kind[config.name], paths, config.classifier_factor)(
        learning_rate=learning_rate,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        gradient_accumulation_steps=config.accumulation_steps,
        **options,
    )
    optimizer.watching = keras.Variable(False, dtype="bool", trainable=False, name="watching")
    return optimizer


def _with_two_rates(
    kind: type[keras.optimizers.Optimizer], fast_paths: set[str], factor: float
) -> type[keras.optimizers.Optimizer]:
    """Returns a subclass of `kind` that multiplies the learning rate of some variables by `factor`.

    Multiplying their gradients instead would change nothing under Adam, which divides by them.

    While `watching` is true, each step stores the norms of its gradients, before clipping, in
    `gradient_norms`.

    With several replicas, the gradients are summed before they are clipped, so that the gradient of
    the whole batch is clipped and watched. Keras clips first.
    """

    class WithTwoRates(kind):
        def build(self, variables):
            super().build(variables)
            self.factors = [factor if v.path in fast_paths else 1.0 for v in variables]
            self.gradient_norms = keras.Variable(
                [0.0] * len(variables),
                trainable=False,
                name="gradient_norms",
                synchronization="on_read",
                aggregation="only_first_replica",
            )

        def apply(self, grads, trainable_variables=None):
            grads = [g for g, _ in super()._all_reduce_sum_gradients([(g, None) for g in grads])]
            super().apply(grads, trainable_variables)
            norms = self.gradient_norms
            norms.assign(
                keras.ops.cond(self.watching.value, lambda: _norms(grads), lambda: norms.value)
            )

        def _all_reduce_sum_gradients(self, grads_and_vars):
            return grads_and_vars  # `apply` has summed them

        def update_step(self, gradient, variable, learning_rate):
            rate = learning_rate * self.factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, rate)

    return WithTwoRates


def _norms(grads: list):
    return keras.ops.stack(
        [0.0 if g is None else keras.ops.norm(keras.ops.ravel(g)) for g in grads]
    )
