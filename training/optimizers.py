"""Optimizers with a factor on the learning rate of each variable."""

import dataclasses
from collections.abc import Mapping

import keras

from conf.schema import Optimizer, OptimizerConfig

FINE_TUNE_RATES = {Optimizer.adamw: 3e-4, Optimizer.sgd: 1e-3}  # the defaults of stage 2


def stage_2_options(config: OptimizerConfig, epochs: int) -> OptimizerConfig:
    """Returns the options of stage 2, of `epochs` epochs, in the place of those of stage 1.

    Warm-up takes half of the stage at most.
    """
    rate, decay = config.fine_tune_learning_rate, config.fine_tune_weight_decay
    return dataclasses.replace(
        config,
        name=config.fine_tune_name,
        learning_rate=FINE_TUNE_RATES[config.fine_tune_name] if rate is None else rate,
        weight_decay=config.weight_decay if decay is None else decay,
        clip_norm=config.fine_tune_clip_norm,
        warmup_epochs=min(config.fine_tune_warmup_epochs, epochs / 2),
    )


def build_optimizer(
    config: OptimizerConfig,
    learning_rate: float,
    factors: Mapping[str, float] | None = None,
    steps_per_execution: int = 1,
) -> keras.optimizers.Optimizer:
    """Builds SGD with momentum, or AdamW. Weight decay is decoupled from the gradient in both.

    Args:
        config: see `conf/schema.py`.
        learning_rate: learning rate before any schedule.
        factors: factors on the learning rates of variables, by their paths. Weight decay has no
            factor. Default: `None`, all have the same rate.
        steps_per_execution: steps that TensorFlow takes without returning to Python. If there are
            several, callbacks set the learning rates of these steps in `rates`. Default: 1.
    """
    kind = {Optimizer.sgd: keras.optimizers.SGD, Optimizer.adamw: keras.optimizers.AdamW}
    options = {"momentum": config.momentum} if config.name is Optimizer.sgd else {}
    optimizer = _with_factors(kind[config.name], factors or {})(
        learning_rate=learning_rate,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        gradient_accumulation_steps=config.accumulation_steps,
        **options,
    )
    optimizer.watching = keras.Variable(False, dtype="bool", trainable=False, name="watching")
    if steps_per_execution > 1:
        rates = [learning_rate] * steps_per_execution
        optimizer.rates = keras.Variable(rates, trainable=False, name="rates")
        optimizer.step = keras.Variable(0, dtype="int32", trainable=False, name="step")
    return optimizer


def _with_factors(
    kind: type[keras.optimizers.Optimizer], factors: Mapping[str, float]
) -> type[keras.optimizers.Optimizer]:
    """Returns a subclass of `kind` that multiplies the learning rates of variables by `factors`.

    Multiplying their gradients instead would change nothing under Adam, which divides by them.

    While `watching` is true, each step stores the norms of its gradients, before clipping, in
    `gradient_norms`. If TensorFlow takes several steps at a time, step i has the learning rate
    `rates[i]`, and the last of them is watched; `before` has the weights before it.

    With several replicas, the gradients are summed before they are clipped, so that the gradient of
    the whole batch is clipped and watched. Keras clips first.
    """

    class WithFactors(kind):
        rates = None

        def build(self, variables):
            super().build(variables)
            self.factors = [factors.get(v.path, 1.0) for v in variables]
            self.gradient_norms = keras.Variable(
                [0.0] * len(variables),
                trainable=False,
                name="gradient_norms",
                synchronization="on_read",
                aggregation="only_first_replica",
            )
            if self.rates is not None:
                self.before = [keras.Variable(v, trainable=False) for v in variables]

        def apply(self, grads, trainable_variables=None):
            grads = [g for g, _ in super()._all_reduce_sum_gradients([(g, None) for g in grads])]
            watching = self.watching.value
            if self.rates is not None:
                steps = self.rates.shape[0]
                step = self.step.value
                self.learning_rate = self.rates.value[step]
                watching = keras.ops.logical_and(watching, step == steps - 1)
                keras.ops.cond(watching, self._keep_weights, lambda: None)
                self.step.assign((step + 1) % steps)
            super().apply(grads, trainable_variables)
            norms = self.gradient_norms
            norms.assign(keras.ops.cond(watching, lambda: _norms(grads), lambda: norms.value))

        def _keep_weights(self):
            for kept, variable in zip(self.before, self._trainable_variables, strict=True):
                kept.assign(variable.value)

        def _all_reduce_sum_gradients(self, grads_and_vars):
            return grads_and_vars  # `apply` has summed them

        def update_step(self, gradient, variable, learning_rate):
            rate = learning_rate * self.factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, rate)

    return WithFactors


def _norms(grads: list):
    return keras.ops.stack(
        [0.0 if g is None else keras.ops.norm(keras.ops.ravel(g)) for g in grads]
    )
