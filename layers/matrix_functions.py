"""Square roots of second moments: the mathematics of second-order pooling as pure functions.

Notation. X is the N x C feature map of one image, minus its mean if the moment is centred.
Y = X / sqrt(N), and A = Y'Y is the C x C second moment, of rank at most min(N, C). K = YY' is N x N
and has the same non-zero eigenvalues as A. tr = tr A = tr K is the scale of the image.

All functions work on batches: Y is (B, N, C), and A and the results are (B, C, C). "The positions'
side" computes from K, "the channels' side" from A.

A function of the moment
------------------------
For a function f of the eigenvalues and g(l) = (f(l) - f(0)) / l, let K / tr = U diag(l) U' and
P = U'Y / sqrt(tr), whose rows are orthogonal and satisfy PP' = diag(l). Then

    f(A / tr) = f(0) I + P' diag(g) P                                                    (1)

because the right-hand side has the eigenvalues f(0) + l g(l) = f(l) on the row space of P, and f(0)
on its complement. With the symmetrised upstream gradient G, M = PG and D = MP', the gradient at a
fixed trace needs no division by a difference of eigenvalues:

    dL/dP = 2 [diag(g) M + (D o g1) P],                                                  (2)

where g1 contains the divided differences of g, in the closed forms of `spectral_functions`. The
result is R = tr^q f(A / tr), where q is the degree of f, and log(tr) I is added for the logarithm.
The trace adds a multiple of Y to the gradient:

    dL/dY = tr^(q - 1/2) [U dL/dP + 2 k Y / sqrt(tr)],                                   (3)
    k = q <G, f(A / tr)> - sum_i f'(l_i) D_ii, plus tr(G) for the logarithm.

On the channels' side A / tr = V diag(l) V' and f(A / tr) = V diag(f) V'. With H = V'GV and the
divided differences f1 of f (Daleckii and Krein), the gradient at a fixed trace is

    dL/dA = V (H o f1) V' / tr,    dL/dY = 2 Y dL/dA.                                    (4)

For the root, f1_ij = 1 / (a_i + a_j) with a = sqrt(l + e), and (4) solves a Lyapunov equation
(Lin and Maji 2017).

The Newton-Schulz root
----------------------
The coupled iteration on A / tr (Li et al. 2018, eq. 4 to 6), Y_0 = A / tr, Z_0 = I,

    T = (3 I - Z Y) / 2,   Y <- Y T,   Z <- T Z,                                         (5)

gives R = sqrt(tr) Y_k. Every Z_k is a polynomial q_k of the matrix that the iteration starts from,
and Y_k = A q_k(A). Since A q(A) = Y' q(K) Y for every polynomial q, the iteration on K / tr gives
exactly the same result in O(N^3) instead of O(C^3):

    R = Y' Z_k Y / sqrt(tr).                                                             (6)
"""

import itertools

import keras
import numpy as np
from keras import ops

from .backend import custom_gradient, mean, widest_float
from .matrices import diagonal, transpose, with_diagonal
from .matrix_products import by_products
from .precision import exact_products
from .spectral_functions import Inverse, Root, known, reciprocal

SIDES = ("auto", "channels", "positions")
# A mode is an eigenvector of K or A.
MAX_FLOAT64_MODES = 128  # up to this number, K or A is computed in float64, which is cheap
MAX_FLOAT32_MODES = {"positions": 256, "channels": 768}  # a float32 decomposition is exact enough
MAX_SPREAD = 5e3  # up to this spread of the modes, a K in float32 is exact enough
MIN_SPLIT_LENGTH = 256  # sums of at least this length are split, because their rounding matters
CONSTANT_UNITS = 8  # rounding units between the largest and smallest value of a constant channel
LEAST_NULL_SPACE = 1e-4  # over e: dimensions at which a T of the inverse in float32 is exact enough
ROUNDING = 1e-12  # smaller eigenvalues, relative to tr, are rounding errors of a P in float32
ROUNDING_OF_EIGENVALUES = 1e-13  # of a matrix that is decomposed in float64


def normalized_positions(features, centered=False):
    """Return Y = X / sqrt(N), with X minus its mean over positions if `centered`. (B, N, C)."""
    features = center(features) if centered else features
    return features * _inverse_root_of_positions(features)


def center(features):
    """Return features minus their mean over positions. (B, N, C).

    A channel is constant if its largest and smallest values differ by at most 8 rounding units of
    its dtype, 1e-6 of the values in float32. The rounded mean would leave noise in such a channel,
    so it becomes exactly 0. Its gradient is that of any other channel.
    """
    x = ops.stop_gradient(features)
    largest, smallest = ops.amax(x, axis=1, keepdims=True), ops.amin(x, axis=1, keepdims=True)
    unit = float(np.finfo(keras.backend.standardize_dtype(x.dtype)).eps)
    tolerance = 0.5 * CONSTANT_UNITS * unit * (ops.abs(largest) + ops.abs(smallest))
    average = mean(features, axis=1, keepdims=True)
    noise = ops.where(largest - smallest <= tolerance, x - ops.stop_gradient(average), 0.0)
    return features - average - noise


def spectral_function(x, function, side, form, method="eigh"):
    """Return R of (1) to (3). (B, N, C) -> (B, C, C), or (B, D) if folded.

    Args:
        x: X rather than Y. Both have the same U, P and eigenvalues for unit trace, and multiplying
            these by 1 / sqrt(N) saves a pass over X.
        function: An instance of one of the classes of `spectral_functions`.
        side: `"auto"`, `"channels"` or `"positions"`.
        form: A `FullMatrix` or a `FoldedTriangle`.
        method: `"eigh"`, `"products"`, `"products_float32"` or `"lu"`; see `methods`.
    """
    if method == "eigh":
        forwards, backwards, rule = _EIGH_FORWARD, _EIGH_BACKWARD, function
    else:
        forwards, backwards = _PRODUCTS_FORWARD, _PRODUCTS_BACKWARD
        narrow = method == "products_float32" and _is_float32(x)
        rule = by_products(function, "float32" if narrow else widest_float(), lu=method == "lu")

    def forward(x):
        return _on_side(side, *forwards, x, rule, form)

    @exact_products
    def backward(g, inputs, outputs):
        (x,), (_, *kept) = inputs, outputs
        return (_on_side(side, *backwards, x, rule, form, g, *kept),)

    def no_second_derivative(*_):
        raise NotImplementedError("Only the root has second derivatives.")

    # `torch.func` differentiates with `differentiable`, first derivatives too.
    gradient = custom_gradient(
        lambda g, x: backward(g, (x,), forward(x)), None, no_second_derivative
    )

    @exact_products
    def differentiable(g, x):
        if not isinstance(function, Root):
            return (gradient(g, x),)
        y, identity = normalized_positions(_widest(x)), ops.eye(x.shape[2], dtype=widest_float())
        total, _ = form.gradient_product(identity[None], _widest(g))  # G + G' over the weight
        inner = _root_gradient(transpose(y) @ y, function.epsilon, form.weight * total)
        return (ops.cast(_inverse_root_of_positions(y) * (y @ inner), x.dtype),)

    pool = custom_gradient(forward, backward, differentiable)
    if _needs_wide_positions(x, function, side, method):
        return _in_type_of(x, pool(_widest(x)))
    return pool(x)


def _needs_wide_positions(x, function, side, method):
    """Return whether X in float32 is too coarse for the positions' side.

    With N >= C, f(0) cancels in all modes: for the inverse, it is 1 / e times as large as they are.
    With N < C, it remains in C - N directions, and f(0) is relative to them. But T in (4) of
    `matrix_products` has eigenvalues of up to 1 / (2 e^(3/2)) for the inverse, so that its rounding
    errors are up to 3e-8 / e^(1/2) of f(0). They fall with the root of C - N.
    """
    positions, channels = x.shape[1:]
    if positions is None or side == "channels" or function.in_float32:
        return False
    if positions >= channels:
        return side == "positions"
    by_t = method != "eigh" and isinstance(function, Inverse)
    return by_t and channels - positions < LEAST_NULL_SPACE / function.epsilon


def newton_schulz_root(y, iterations, side, form):
    """Return the Newton-Schulz root of Y'Y. (B, N, C) -> (B, C, C), or (B, D) if folded.

    `side` and `form` are those of `spectral_function`.
    """
    return _on_side(side, _positions_iteration, _channels_iteration, y, iterations, form)


def _on_side(side, positions, channels, y, *args):
    """Call `positions` or `channels`. "auto" takes the smaller, at run time if N is unknown."""
    if side == "auto" and y.shape[1] is None:
        few = ops.shape(y)[1] < y.shape[2]
        return ops.cond(few, lambda: positions(y, *args), lambda: channels(y, *args))
    if side == "auto":
        side = "positions" if y.shape[1] < y.shape[2] else "channels"
    return positions(y, *args) if side == "positions" else channels(y, *args)


def _positions_forward(x, function, form):
    """Return R by (1), and the tensors that the gradient needs."""
    u, p, eigenvalues, scale, safe_scale = _modes(x, function, "positions")
    factor, shift = _scaling(x, function, scale, safe_scale)
    weights = _in_type_of(x, known(eigenvalues, function.slope(_for(function, eigenvalues))))
    value = form.product(p, p, weights * factor, function.at_zero * factor + shift)
    return value, u, p, eigenvalues, safe_scale


def _positions_backward(x, function, form, g, u, p, eigenvalues, safe_scale):
    """Return (3) for an upstream gradient `g` that need not be symmetric.

    The factor 2 of (2) and (3) is in G + G'.
    """
    p = ops.reshape(p, ops.shape(x))  # restores the static shape that `ops.cond` loses
    m, trace = form.gradient_product(p, g)  # (B, N, C)
    wide = _for(function, eigenvalues)
    d, trace = ops.cast(m @ transpose(p), wide.dtype), ops.cast(trace, wide.dtype)  # d: (B, N, N)
    weights = known(eigenvalues, function.slope(wide))
    differences = function.slope_difference(wide)
    slopes = weights + known(eigenvalues, wide * diagonal(differences))  # f'
    total = function.at_zero * trace + ops.sum(diagonal(d) * weights, axis=1)
    k = function.degree * total - ops.sum(diagonal(d) * slopes, axis=1)
    if function.adds_log_trace:
        k = k + trace
    # All factors of P are gathered in one N x N matrix. g is taken out to the left, where it scales
    # U and not the longer M.
    inner = d * differences * reciprocal(weights)[:, :, None]
    inner = with_diagonal(inner, diagonal(inner) + k[:, None] * reciprocal(weights))
    weights, inner = (_in_type_of(x, each) for each in (weights, inner))
    scale = form.weight * _inverse_root_of_positions(x) * _gradient_scaling(x, function, safe_scale)
    return (u * (scale * weights[:, None])) @ (m + inner @ p)


def _channels_forward(x, function, form):
    """Return R = V diag(f) V', and the tensors that the gradient needs; P is (B, C, N)."""
    v, p, eigenvalues, scale, safe_scale = _modes(x, function, "channels")
    factor, shift = _scaling(x, function, scale, safe_scale)
    wide = _for(function, eigenvalues)
    values = _in_type_of(x, function.at_zero + wide * function.slope(wide))
    modes = transpose(v)
    return form.product(modes, modes, values * factor + shift), v, p, eigenvalues, safe_scale


def _channels_backward(x, function, form, g, v, p, eigenvalues, safe_scale):
    """Return (3) and (4) for an upstream gradient `g` that need not be symmetric.

    The factor 2 of (4) is in G + G'.
    """
    v = ops.reshape(v, (-1, x.shape[2], x.shape[2]))  # restores the shape that `ops.cond` loses
    product, trace = form.gradient_product(transpose(v), g)
    wide = _for(function, eigenvalues)
    h, trace = ops.cast(product @ v, wide.dtype), ops.cast(trace, wide.dtype)
    differences = function.difference(wide)
    values = function.at_zero + wide * function.slope(wide)
    along = function.degree * values - diagonal(differences) * wide
    k = ops.sum(diagonal(h) * along, axis=1)
    if function.adds_log_trace:
        k = k + trace
    # Modes that are rounding errors are left out: their part of (4) is large for a small epsilon.
    mask = known(eigenvalues, ops.ones_like(wide))
    inner = _in_type_of(x, h * differences * mask[:, :, None])
    scale = form.weight * _inverse_root_of_positions(x) * _gradient_scaling(x, function, safe_scale)
    k = _in_type_of(x, _scalars(k))
    return scale * (transpose(p) @ (inner @ transpose(v)) + k / safe_scale * x)


def _positions_products_forward(x, rule, form):
    """Return R by (4) of `matrix_products`, and the tensors that the gradient needs."""
    y, k, scale, safe_scale = _of_trace_one(x, "positions", rule.dtype)
    slope, kept = rule.slope(k)
    t, scale, safe_scale = (_in_type_of(x, each) for each in (slope @ y, scale, safe_scale))
    kept = [_in_type_of(x, each) for each in kept] if _is_narrow(x, rule) else kept
    factor, shift = _scaling(x, rule.function, scale, safe_scale)
    value = form.product(x / safe_scale, t, factor, rule.function.at_zero * factor + shift)
    return value, t, safe_scale, *kept


def _positions_products_backward(x, rule, form, g, t, safe_scale, *kept):
    """Return the gradient for an upstream gradient `g` that need not be symmetric."""
    t, y = ops.reshape(t, ops.shape(x)), x / safe_scale
    m, trace = form.gradient_product(t, g)
    d = m @ transpose(t) if rule.from_t else form.gradient_product(y, g)[0] @ transpose(y)
    d = d if _is_narrow(x, rule) else ops.cast(d, rule.dtype)
    inner = _in_type_of(x, rule.slope_derivative(d, *kept))
    total = rule.function.at_zero * trace + _dot(m, y)
    return _with_gradient_of_trace(x, y, rule.function, form, safe_scale, m + inner @ y, total)


def _is_narrow(x, rule):
    """Return whether the positions' side keeps its tensors in the type of X.

    With an unknown N, both sides must keep the same types.
    """
    return rule.narrow and x.shape[1] is not None


def _channels_products_forward(x, rule, form):
    """Return R, and the tensors that the gradient needs."""
    _, a, scale, safe_scale = _of_trace_one(x, "channels", rule.dtype)
    f, kept = rule.value(a)
    f, scale, safe_scale = (_in_type_of(x, each) for each in (f, scale, safe_scale))
    factor, _ = _scaling(x, rule.function, scale, safe_scale)
    return form.fold(f * factor[:, :, None]), f, safe_scale, *kept


def _channels_products_backward(x, rule, form, g, f, safe_scale, *kept):
    """Return the gradient for an upstream gradient `g` that need not be symmetric."""
    f = ops.reshape(f, (-1, x.shape[2], x.shape[2]))
    h, _ = form.gradient_product(ops.eye(x.shape[2], dtype=x.dtype)[None], g)  # G + G'
    derivative = rule.value_derivative(ops.cast(h, rule.dtype), *kept)
    # This Y is not rounded to the type of X, because derivatives are large.
    wide = ops.cast(x, rule.dtype) / ops.cast(safe_scale, rule.dtype)
    gradient, y = _in_type_of(x, wide @ derivative), x / safe_scale
    return _with_gradient_of_trace(x, y, rule.function, form, safe_scale, gradient, _dot(h, f))


_EIGH_FORWARD = _positions_forward, _channels_forward
_EIGH_BACKWARD = _positions_backward, _channels_backward
_PRODUCTS_FORWARD = _positions_products_forward, _channels_products_forward
_PRODUCTS_BACKWARD = _positions_products_backward, _channels_products_backward


def _of_trace_one(x, side, dtype):
    """Return Y and K = YY', or Y'Y on the channels' side, for trace 1, and the scales of `_modes`.

    Y and K are computed in `dtype`.
    """
    wide = ops.cast(x, dtype)
    k = _gram(wide, side)
    safe_trace = _safe_trace(k)
    scales = ops.sqrt(_trace(k)), ops.sqrt(safe_trace)
    return wide / scales[1], k / safe_trace, *scales


def _with_gradient_of_trace(x, y, function, form, safe_scale, gradient, total):
    """Return dL/dX by (3), from dL/dY at a fixed trace and total = <G + G', f>, for trace 1.

    The derivative of f along Y, sum_i f'(l_i) D_ii in (3), is the inner product of dL/dY and Y.
    """
    k = function.degree * total - _dot(gradient, y)
    scale = form.weight * _inverse_root_of_positions(x) * _gradient_scaling(x, function, safe_scale)
    return scale * (gradient + _scalars(k) * y)


def _dot(one, other):
    """(B, N, C), (B, N, C) -> (B,)."""
    return ops.sum(one * other, axis=(1, 2))


def _scaling(x, function, scale, safe_scale):
    """Return the factor of f and what is added to it, (B, 1) each: (3). 0 for a zero map."""
    root = scale[:, 0] * _inverse_root_of_positions(x)  # of tr
    safe_root = safe_scale[:, 0] * _inverse_root_of_positions(x)
    known = scale[:, 0] / safe_scale[:, 0]  # 1, or 0 for a zero map, or NaN
    if function.degree == 0.5:
        return root, 0.0
    if function.adds_log_trace:
        return known, 2.0 * known * ops.log(safe_root)
    return known * safe_root ** (2.0 * function.degree), 0.0


def _gradient_scaling(x, function, safe_scale):
    """Return tr^(q - 1/2), (B, 1, 1)."""
    if function.degree == 0.5:
        return 1.0
    root = safe_scale * _inverse_root_of_positions(x)
    return root ** (2.0 * function.degree - 1.0)


def _for(function, eigenvalues):
    """Return eigenvalues in the type that the function is computed in."""
    return eigenvalues if function.in_float32 else _widest(eigenvalues)


def _in_type_of(x, tensor):
    return ops.cast(tensor, x.dtype)


def matrix_root(a, epsilon):
    """Return (A + epsilon tr(A) I)^(1/2) of positive semi-definite A by (4). (B, C, C)."""

    def forward(matrix):
        matrix = 0.5 * (matrix + transpose(matrix))
        eigenvalues, v, scale, safe_scale = _eigh(_widest(matrix), matrix.dtype)
        a = ops.sqrt(eigenvalues + epsilon)
        q = v * ops.expand_dims(ops.sqrt(a * scale[:, 0]), 1)
        return q @ transpose(q), v, a, safe_scale

    @exact_products
    def backward(g, inputs, outputs):
        _, v, a, safe_scale = outputs
        h = 0.5 * (transpose(v) @ ((g + transpose(g)) @ v))
        inner = (h * reciprocal(_outer_sum(a))) @ transpose(v)
        through_trace = 0.5 * epsilon * ops.sum(diagonal(h) * reciprocal(a), axis=1)
        product = v @ inner
        ridge = diagonal(product) + through_trace[:, None]
        return (with_diagonal(product, ridge) / safe_scale,)

    @exact_products
    def differentiable(g, matrix):
        wide = _widest(matrix)
        gradient = _root_gradient(0.5 * (wide + transpose(wide)), epsilon, _widest(g))
        return (ops.cast(gradient, matrix.dtype),)

    return custom_gradient(forward, backward, differentiable)(a)


def _root_gradient(a, epsilon, g):
    """Return (4) for symmetric A by operations that can be differentiated again. (B, C, C)."""
    identity = ops.eye(a.shape[2], dtype=a.dtype)
    inner = _root_derivative(a + epsilon * _trace(a) * identity, g)
    return inner + epsilon * _trace(inner) * identity


def _root_derivative(b, g):
    """Return L, the derivative of the root R of B along the symmetric part of G. (B, C, C).

    L is the solution of RL + LR = G - QGQ, where Q projects on the null space of B. With the
    pseudo-inverse R^+, dQ = -(R^+ dR Q + Q dR R^+). The derivative of L along dR is therefore the
    solution for

        -(dR L + L dR) + R^+ dR QGQ + QGQ dR R^+,

    and derivatives of every order need no difference of eigenvalues.
    """

    def forward(b, g):
        eigenvalues, v, scale, _ = _eigh(b, b.dtype)
        known = ops.where(eigenvalues > ROUNDING_OF_EIGENVALUES, eigenvalues, 0.0)
        a = ops.sqrt(known) * scale[:, 0]
        h = 0.5 * (transpose(v) @ (g + transpose(g)) @ v)
        null = ops.cast(a == 0, a.dtype)
        blocks = h * reciprocal(_outer_sum(a)), h * null[:, :, None] * null[:, None]
        solution, null_block = (v @ block @ transpose(v) for block in blocks)
        return solution, null_block, (v * reciprocal(a)[:, None]) @ transpose(v)

    @exact_products
    def differentiable(upstream, b, g):
        solution, adjoint = _root_derivative(b, g), _root_derivative(b, upstream)
        _, null_block, inverse = (ops.stop_gradient(output) for output in forward(b, g))
        change = inverse @ adjoint @ null_block - adjoint @ solution
        return _root_derivative(b, change + transpose(change)), adjoint

    return custom_gradient(forward, None, differentiable)(b, g)


def _positions_iteration(y, iterations, form):
    """Return the root by (6). (B, N, C) -> (B, C, C), or (B, D) if folded."""
    k = y @ transpose(y)  # (B, N, N)
    trace = _safe_trace(k)
    _, z = newton_schulz_iteration(k / trace, iterations)
    return form.product(y, (z @ y) * ops.rsqrt(trace))


def _channels_iteration(y, iterations, form):
    """Return the root by (5). (B, N, C) -> (B, C, C), or (B, D) if folded."""
    return form.fold(matrix_newton_schulz(transpose(y) @ y, iterations))


def matrix_newton_schulz(a, iterations):
    """Return the Newton-Schulz root of positive semi-definite A by (5). (B, C, C)."""
    trace = _safe_trace(a)
    root, _ = newton_schulz_iteration(a / trace, iterations)
    return ops.sqrt(trace) * root


def newton_schulz_iteration(a, iterations):
    """Return (Y_k, Z_k) after k = `iterations` steps of (5). Two of (B, C, C)."""
    three = 3.0 * ops.eye(a.shape[-1] or ops.shape(a)[-1], dtype=a.dtype)
    z = 0.5 * (three - a)  # the first step, where Z_0 = I
    y = a @ z
    for _ in range(iterations - 1):
        t = 0.5 * (three - z @ y)
        y, z = y @ t, t @ z
    return y, z


def _modes(x, function, side):
    """Return the eigenvectors U of K = XX', and P = U'X / sqrt(tr).

    On the channels' side, X' takes the place of X. tr is the trace of this K, N times that of A.

    A float32 K has an error of 1e-7 of its norm, which 1 / (a + s) magnifies in small modes. Up to
    `MAX_FLOAT64_MODES`, K is therefore computed and decomposed in the widest float type, and P in
    float32. A larger K is computed in float32 and, up to `MAX_FLOAT32_MODES`, decomposed in
    float32, which takes half the time. If the modes of an image have a spread above `MAX_SPREAD`,
    everything is computed again in float64: one position or the means of the channels outweigh the
    rest, or the eigenvalues decay quickly.

    JAX and PyTorch are up to ten times less accurate in float32, so they use the widest type. So
    does the channels' side of an image with fewer positions, which promises the accuracy of the
    positions' side.

    Returns:
        U (B, N, N), P (B, N, C), the eigenvalues of K / tr (B, N), sqrt(tr) (B, 1, 1), and sqrt(tr)
        with 1 in place of 0 as a divisor (B, 1, 1).
    """
    size = x.shape[1 if side == "positions" else 2] or 0  # unknown sizes count as small
    rank_deficient = side == "channels" and x.shape[1] is not None and x.shape[1] < x.shape[2]

    def in_widest_type():
        wide = _widest(x)
        modes = _modes_of(_gram(wide, side), wide, function, side)
        return tuple(ops.cast(tensor, x.dtype) for tensor in modes)

    tensorflow = keras.backend.backend() == "tensorflow"
    in_float32 = function.in_float32 and tensorflow and _is_float32(x)
    if rank_deficient or not in_float32:
        return in_widest_type()
    k = _gram(_widest(x) if size <= MAX_FLOAT64_MODES else x, side)
    modes = _modes_of(_widest(k) if size > MAX_FLOAT32_MODES[side] else k, x, function, side)
    ordinary = ops.all(_spread(modes, function.epsilon) <= MAX_SPREAD)
    return ops.cond(ordinary, lambda: modes, in_widest_type)


def _modes_of(k, x, function, side):
    """Return the result of `_modes` from a given K.

    Eigenvectors from float32 are normalised again, but not orthogonalised, which would take another
    product. Eigenvalues are computed from P, so that they fit P. Those that are rounding errors are
    set to 0.
    """
    _, u, scale, safe_scale = _eigh(k, x.dtype)
    if _is_float32(k):
        u = u * (1.5 - 0.5 * ops.sum(u * u, axis=1, keepdims=True))
    p = transpose(u / safe_scale) @ (x if side == "positions" else transpose(x))
    eigenvalues = ops.sum(p * p, axis=2)
    rounding = ROUNDING if _is_float32(x) else function.rounding
    return u, p, ops.where(eigenvalues > rounding, eigenvalues, 0.0), scale, safe_scale


def _spread(modes, epsilon):
    """Return |K| / tr times the root mean square of 1 / (l + epsilon), (B,).

    1e-7 times it is the relative error of l + epsilon for a K in float32. An image whose K
    overflows has an infinite spread.
    """
    _, _, eigenvalues, scale, _ = modes
    inverse = ops.where(eigenvalues > 0, reciprocal(eigenvalues + epsilon), 0.0)
    norm = ops.sqrt(ops.sum(eigenvalues**2, axis=1))
    spread = norm * ops.sqrt(ops.mean(inverse**2, axis=1))
    return ops.where(ops.isfinite(scale[:, 0, 0]), spread, np.inf)


def _inverse_root_of_positions(x):
    """Return 1 / sqrt(N), so that its product with X is Y."""
    return ops.rsqrt(ops.cast(ops.shape(x)[1], x.dtype))


def _gram(x, side):
    """Return XX', or X'X on the channels' side.

    A long float32 sum is split into four parts, which halves its rounding errors.
    """
    axis = 2 if side == "positions" else 1
    length = x.shape[axis] or 0
    if length < MIN_SPLIT_LENGTH or not _is_float32(x):
        parts = [x]
    else:
        edges = itertools.pairwise(length * part // 4 for part in range(5))
        parts = [x[:, :, i:j] if side == "positions" else x[:, i:j] for i, j in edges]
    if side == "positions":
        return sum(part @ transpose(part) for part in parts)
    return sum(transpose(part) @ part for part in parts)


def _widest(matrix):
    return ops.cast(matrix, widest_float())


def _is_float32(matrix):
    return keras.backend.standardize_dtype(matrix.dtype) == "float32"


def _eigh(matrix, dtype):
    """Return eigenvalues for unit trace, eigenvectors, and the two scales of `_modes`.

    A NaN makes the decomposition fail for the whole batch. A sample that is not finite is therefore
    decomposed as a zero matrix, and its scale turns only its own result into NaN again.
    """
    trace = _trace(matrix)
    usable = ops.logical_and(ops.isfinite(trace), trace > 0)
    eigenvalues, vectors = ops.linalg.eigh(ops.where(usable, matrix, 0.0))
    eigenvalues = ops.relu(eigenvalues) / ops.where(usable, trace, 1.0)[:, 0]
    scale = ops.sqrt(trace)
    results = eigenvalues, vectors, scale, ops.where(trace == 0, 1.0, scale)
    return tuple(ops.cast(result, dtype) for result in results)


def _safe_trace(matrix):
    """Return the trace as (B, 1, 1), and 1 for a zero matrix."""
    trace = _trace(matrix)
    return ops.where(trace == 0, 1.0, trace)


def _trace(matrix):
    """Return the trace, without the mask of `ops.trace`. (B, C, C) -> (B, 1, 1)."""
    return _scalars(ops.sum(diagonal(matrix), axis=1))


def _scalars(vector):
    """(B,) -> (B, 1, 1)."""
    return ops.reshape(vector, (-1, 1, 1))


def _outer_sum(v):
    return ops.expand_dims(v, 2) + ops.expand_dims(v, 1)
