"""Differences between the backends of Keras.

`layers` and `losses` are two packages that import nothing from each other, so each has a copy of
this file. A test keeps the copies equal.
"""

import keras
from keras import ops


def custom_gradient(forward, backward, differentiable=None):
    """Return the function that `forward` computes, with the gradient that `backward` computes.

    Higher derivatives are those of `differentiable`, so they are right even if `forward` has a step
    with an inaccurate derivative, such as an eigendecomposition. Forward-mode derivatives of the
    function are right on TensorFlow, and an error on JAX and PyTorch. Forward-mode derivatives of
    its gradient are also right on JAX, so `jax.hessian` works. PyTorch's compiler has no second
    derivatives: that is an error with its usual back ends, but not with `backend="eager"`.

    Args:
        forward: `forward(*inputs)` returns a tuple of tensors. The first one is the result, and the
            others are kept for `backward`.
        backward: `backward(g, inputs, outputs)` returns a tuple, the gradients with respect to the
            inputs for an upstream gradient `g`. `None` means `differentiable`.
        differentiable: `differentiable(g, *inputs)` returns the same as `backward`, by operations
            with accurate derivatives. `None` means `backward` after another `forward`.
            Defaults to `None`.
    """
    if differentiable is None:

        def differentiable(g, *inputs):
            return backward(g, inputs, forward(*inputs))

    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _on_tensorflow(forward, backward, differentiable)
    if backend == "jax":
        return _on_jax(forward, backward, differentiable)
    if backend == "torch":
        return lambda *inputs: _Function.apply(forward, backward, differentiable, *inputs)[0]
    return lambda *inputs: forward(*inputs)[0]  # the other backends have no gradients


def _on_tensorflow(forward, backward, differentiable):
    import tensorflow as tf

    @tf.custom_gradient
    def function(*inputs):
        outputs = forward(*inputs)

        @tf.custom_gradient
        def gradients(g, *inputs):
            def second(*upstream):
                with tf.GradientTape() as tape:
                    tape.watch([g, *inputs])
                    values = differentiable(g, *inputs)
                return tape.gradient(values, [g, *inputs], upstream, "zero")

            return backward(g, inputs, outputs), second

        pull_back = gradients if backward else differentiable
        return outputs[0], lambda g: pull_back(g, *inputs)

    return function


def _on_jax(forward, backward, differentiable):
    import jax

    @jax.custom_jvp
    def differentiable_forward(*inputs):
        return forward(*inputs)

    @differentiable_forward.defjvp
    def _(inputs, tangents):
        outputs = differentiable_forward(*inputs)
        # The gradient is linear in g. Its transpose maps the tangents to that of the result.
        transposed = jax.linear_transpose(lambda g: differentiable(g, *inputs), outputs[0])
        # Nothing is differentiated with respect to the other outputs.
        others = jax.tree.map(jax.numpy.zeros_like, outputs[1:])
        return outputs, (*transposed(tangents), *others)

    if backward is None:
        return lambda *inputs: differentiable_forward(*inputs)[0]

    @jax.custom_jvp
    def gradients(g, inputs, outputs):
        return backward(g, inputs, outputs)

    @gradients.defjvp
    def _(primals, tangents):
        (g, inputs, _), (g_tangent, input_tangents, _) = primals, tangents
        _, along = jax.jvp(differentiable, (g, *inputs), (g_tangent, *input_tangents))
        return gradients(*primals), along

    @jax.custom_vjp
    def function(*inputs):
        return differentiable_forward(*inputs)[0]

    def function_forward(*inputs):
        outputs = differentiable_forward(*inputs)
        return outputs[0], (inputs, outputs)

    function.defvjp(function_forward, lambda residuals, g: gradients(g, *residuals))
    return function


# Keras' backends for JAX and PyTorch compute the following operations of float64 in float32.


def mean(x, axis, keepdims=False):
    """Return the mean in the type of `x`."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.numpy.mean(x, axis=axis, keepdims=keepdims)
    if keras.backend.backend() == "torch":
        return torch.mean(x, axis, keepdims)
    return ops.mean(x, axis=axis, keepdims=keepdims)


def maximum(x, minimum):
    """Return the larger of a tensor and a number, in the type of `x`."""
    if keras.backend.backend() == "torch":
        return torch.clamp(x, min=minimum)
    return ops.maximum(x, minimum)


def constant(array, x, dtype=None):
    """Return a NumPy array as a tensor on the device of `x`, in its type or in `dtype`."""
    dtype = dtype or keras.backend.standardize_dtype(x.dtype)
    if keras.backend.backend() == "torch":  # whose compiler cannot trace Keras' conversion
        return torch.as_tensor(array).to(x.device, getattr(torch, dtype))
    return ops.cast(array, dtype)


def widest_float():
    """Return the widest float type that the backend computes in.

    That is `"float64"`, or `"float32"` on JAX unless JAX_ENABLE_X64=1 is set.
    """
    if keras.backend.backend() == "jax":
        import jax

        return "float64" if jax.config.jax_enable_x64 else "float32"
    return "float64"


if keras.backend.backend() == "torch":
    import torch

    class _Function(torch.autograd.Function):
        """The outputs of `forward`."""

        generate_vmap_rule = True

        @staticmethod
        def forward(forward, backward, differentiable, *inputs):
            return forward(*inputs)

        @staticmethod
        def setup_context(ctx, inputs, outputs):
            _, ctx.compute, ctx.differentiable, *inputs = inputs
            ctx.number_of_inputs = len(inputs)
            ctx.mark_non_differentiable(*outputs[1:])
            ctx.save_for_backward(*inputs, *outputs)

        @staticmethod
        def backward(ctx, g, *_):
            inputs = ctx.saved_tensors[: ctx.number_of_inputs]
            outputs = ctx.saved_tensors[ctx.number_of_inputs :]
            # With gradients enabled, the result may be differentiated again.
            if ctx.compute is None or torch.is_grad_enabled():
                gradients = ctx.differentiable(g, *inputs)
            else:
                gradients = ctx.compute(g, inputs, outputs)
            return None, None, None, *gradients
