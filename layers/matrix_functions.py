"""Square roots of second moments: the mathematics of second-order pooling as pure functions.

Notation. X is the N x C feature map of one image, minus its mean if the moment is centred.
Y = X / sqrt(N), and A = Y'Y is the C x C second moment, of rank at most min(N, C). K = YY' is N x N
and has the same non-zero eigenvalues as A. tr = tr A = tr K is the scale of the image.

All functions work on batches: Y is (B, N, C), and A and the results are (B, C, C). "The positions'
side" computes from K, "the channels' side" from A.

The exact root
--------------
R = (A + e I)^(1/2) with e = epsilon * tr. With K = U diag(l) U', a = sqrt(l + e), s = sqrt(e) and
P = U'Y, whose rows are orthogonal and satisfy PP' = diag(l),

    R = s I + P' diag(1 / (a + s)) P                                                     (1)

because the right-hand side has the eigenvalues s + l / (a + s) = a on the row space of P, and s on
its complement. With the symmetrised upstream gradient G, M = PG and D = MP', the gradient needs no
difference of eigenvalues:

    dL/dP = 2 [diag(1 / (a + s)) M - (D o F) P],  dL/dY = U dL/dP,                       (2)
    F_ij = 1 / ((a_i + s)(a_j + s)(a_i + a_j)).

(2) is the gradient at a fixed e. Because e = epsilon * tr(Y'Y), there is a second, small term:

    dL/de = (1/2) [tr(G) / s - sum_i D_ii / (s a_i (a_i + s))],
    dL/dY += 2 epsilon (dL/de) Y.                                                        (3)

On the channels' side A = V diag(l) V' and R = V diag(a) V'. With H = V'GV, the gradient is the
solution of a Lyapunov equation, again without differences of eigenvalues (Lin and Maji 2017):

    dL/dA = V [H_ij / (a_i + a_j)] V' + epsilon * sum_i (H_ii / (2 a_i)) I,              (4)
    dL/dY = 2 Y dL/dA.

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

# A mode is an eigenvector of K or A.
MAX_FLOAT64_MODES = 128  # up to this number, K or A is computed in float64, which is cheap
MAX_FLOAT32_MODES = {"positions": 256, "channels": 768}  # a float32 decomposition is exact enough
MAX_SPREAD = 5e3  # up to this spread of the modes, a K in float32 is exact enough
MIN_SPLIT_LENGTH = 256  # sums of at least this length are split, because their rounding matters
CONSTANT_UNITS = 8  # rounding units between the largest and smallest value of a constant channel
# Smaller eigenvalues, relative to tr, are rounding errors of P, by the type that it is computed in.
ROUNDING = {"float32": 1e-12, "float64": 1e-16}
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


def exact_root(x, epsilon, side, form):
    """Return (Y'Y + epsilon tr I)^(1/2). (B, N, C) -> (B, C, C), or (B, D) if folded.

    Args:
        x: X rather than Y. Both have the same U, P and eigenvalues for unit trace, and multiplying
            these by 1 / sqrt(N) saves a pass over X.
        epsilon: Float, the ridge relative to the trace.
        side: `"auto"`, `"channels"` or `"positions"`.
        form: A `FullMatrix` or a `FoldedTriangle`.
    """

    def forward(x):
        return _on_side(side, _positions_forward, _channels_forward, x, epsilon, form)

    def backward(g, inputs, outputs):
        (x,), (_, *kept) = inputs, outputs
        backwards = _positions_backward, _channels_backward
        return (_on_side(side, *backwards, x, epsilon, form, g, *kept),)

    def differentiable(g, x):
        y, identity = normalized_positions(_widest(x)), ops.eye(x.shape[2], dtype=widest_float())
        total, _ = form.gradient_product(identity[None], _widest(g))  # G + G' over the weight
        inner = _root_gradient(transpose(y) @ y, epsilon, form.weight * total)
        return (ops.cast(_inverse_root_of_positions(y) * (y @ inner), x.dtype),)

    return custom_gradient(forward, backward, differentiable)(x)


def newton_schulz_root(y, iterations, side, form):
    """Return the Newton-Schulz root of Y'Y. (B, N, C) -> (B, C, C), or (B, D) if folded.

    `side` and `form` are those of `exact_root`.
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


def _positions_forward(x, epsilon, form):
    """Return the root by (1), and the tensors that the gradient needs."""
    u, p, eigenvalues, scale, safe_scale = _modes(x, epsilon, "positions")
    s, scale = epsilon**0.5, scale[:, 0] * _inverse_root_of_positions(x)
    w = _inner_weights(eigenvalues, epsilon)
    return form.product(p, p, w * scale, s * scale), u, p, eigenvalues, safe_scale


def _inner_weights(eigenvalues, epsilon):
    """Return 1 / (a + s) of (1) and (2), and 0 for rounding errors, which it would magnify."""
    w = _reciprocal(ops.sqrt(eigenvalues + epsilon) + epsilon**0.5)
    return ops.where(eigenvalues > 0, w, 0.0)


def _positions_backward(x, epsilon, form, g, u, p, eigenvalues, _):
    """Return the sum of (2) and (3) for an upstream gradient `g` that need not be symmetric.

    The factor 2 of (2) and (3) is in G + G'. The last argument is unused: `ops.cond` needs the same
    number of tensors from both sides.
    """
    a, s = ops.sqrt(eigenvalues + epsilon), epsilon**0.5
    p = ops.reshape(p, ops.shape(x))  # restores the static shape that `ops.cond` loses
    w = _inner_weights(eigenvalues, epsilon)
    m, trace = form.gradient_product(p, g)  # (B, N, C)
    d = m @ transpose(p)  # (B, N, N)
    # (3) times epsilon, which keeps it finite for epsilon = 0.
    along_modes = ops.sum(diagonal(d) * w * _reciprocal(a), axis=1)
    through_trace = 0.5 * s * (trace - along_modes)
    # In (3), Y = U P sqrt(tr). All factors of P are collected in one N x N matrix. diag(w) is moved
    # to the left end, where it scales U instead of the larger M.
    w = ops.expand_dims(w, 1)
    inner = d / _outer_sum(ops.where(a == 0, 1.0, a)) * w
    ridge = ops.expand_dims(_scalars(through_trace)[:, 0] * (a + s), 2)
    inner = inner - ridge * ops.eye(ops.shape(inner)[1], dtype=x.dtype)
    weights = form.weight * _inverse_root_of_positions(x) * w
    return (u * weights) @ (m - inner @ p)


def _channels_forward(x, epsilon, form):
    """Return R = V diag(a) V', and the tensors that the gradient needs; P is (B, C, N)."""
    v, p, eigenvalues, scale, safe_scale = _modes(x, epsilon, "channels")
    modes, scale = transpose(v), scale[:, 0] * _inverse_root_of_positions(x)
    root = form.product(modes, modes, ops.sqrt(eigenvalues + epsilon) * scale)
    return root, v, p, eigenvalues, safe_scale


def _channels_backward(x, epsilon, form, g, v, p, eigenvalues, safe_scale):
    """Return (4) for an upstream gradient `g` that need not be symmetric.

    The factor 2 of (4) is in G + G'.
    """
    a = ops.sqrt(eigenvalues + epsilon)
    v = ops.reshape(v, (-1, x.shape[2], x.shape[2]))  # restores the shape that `ops.cond` loses
    h = form.gradient_product(transpose(v), g)[0] @ v
    h = h * (form.weight * _inverse_root_of_positions(x))
    # Modes that are rounding errors are left out: their part of (4) is large for a small epsilon.
    known = ops.expand_dims(ops.cast(eigenvalues > 0, a.dtype), 2)
    inner = (h * _reciprocal(_outer_sum(a)) * known) @ transpose(v)
    through_trace = 0.5 * epsilon * ops.sum(diagonal(h) * _reciprocal(a), axis=1)
    return transpose(p) @ inner + _scalars(through_trace) / safe_scale * x


def matrix_root(a, epsilon):
    """Return (A + epsilon tr(A) I)^(1/2) of positive semi-definite A by (4). (B, C, C)."""

    def forward(matrix):
        matrix = 0.5 * (matrix + transpose(matrix))
        eigenvalues, v, scale, safe_scale = _eigh(_widest(matrix), matrix.dtype)
        a = ops.sqrt(eigenvalues + epsilon)
        q = v * ops.expand_dims(ops.sqrt(a * scale[:, 0]), 1)
        return q @ transpose(q), v, a, safe_scale

    def backward(g, inputs, outputs):
        _, v, a, safe_scale = outputs
        h = 0.5 * (transpose(v) @ ((g + transpose(g)) @ v))
        inner = (h * _reciprocal(_outer_sum(a))) @ transpose(v)
        through_trace = 0.5 * epsilon * ops.sum(diagonal(h) * _reciprocal(a), axis=1)
        product = v @ inner
        ridge = diagonal(product) + through_trace[:, None]
        return (with_diagonal(product, ridge) / safe_scale,)

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
        a = (
            ops.sqrt(ops.where(eigenvalues > ROUNDING_OF_EIGENVALUES, eigenvalues, 0.0))
            * scale[:, 0]
        )
        h = 0.5 * (transpose(v) @ (g + transpose(g)) @ v)
        null = ops.cast(a == 0, a.dtype)
        blocks = h * _reciprocal(_outer_sum(a)), h * null[:, :, None] * null[:, None]
        solution, null_block = (v @ block @ transpose(v) for block in blocks)
        return solution, null_block, (v * _reciprocal(a)[:, None]) @ transpose(v)

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


def _modes(x, epsilon, side):
    """Return the eigenvectors U of K = XX', and P = U'X / sqrt(tr).

    On the channels' side, X' takes the place of X. tr is the trace of this K, N times that of A.

    A float32 K has an error of 1e-7 of its norm, which 1 / (a + s) magnifies in small modes. Up to
    `MAX_FLOAT64_MODES`, K is therefore computed and decomposed in the widest float type. A larger K
    is computed in float32 and, up to `MAX_FLOAT32_MODES`, decomposed in float32, which takes half
    the time. If the modes of an image have a spread above `MAX_SPREAD`, the batch is decomposed
    again in float64: one position or the means of the channels outweigh the rest.

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
        modes = _modes_of(_gram(wide, side), wide, side)
        return tuple(ops.cast(tensor, x.dtype) for tensor in modes)

    in_float32 = keras.backend.backend() == "tensorflow" and _is_float32(x)
    if size <= MAX_FLOAT64_MODES or rank_deficient or not in_float32:
        return in_widest_type()
    k = _gram(x, side)
    modes = _modes_of(_widest(k) if size > MAX_FLOAT32_MODES[side] else k, x, side)
    return ops.cond(ops.all(_spread(modes, epsilon) <= MAX_SPREAD), lambda: modes, in_widest_type)


def _modes_of(k, x, side):
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
    rounding = ROUNDING[keras.backend.standardize_dtype(x.dtype)]
    return u, p, ops.where(eigenvalues > rounding, eigenvalues, 0.0), scale, safe_scale


def _spread(modes, epsilon):
    """Return |K| / tr times the root mean square of 1 / (l + epsilon), (B,).

    1e-7 times it is the relative error of l + epsilon for a K in float32. An image whose K
    overflows has an infinite spread.
    """
    _, _, eigenvalues, scale, _ = modes
    inverse = ops.where(eigenvalues > 0, _reciprocal(eigenvalues + epsilon), 0.0)
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
    left, right = (x, transpose(x)) if side == "positions" else (transpose(x), x)
    length = left.shape[2] or 0
    if length < MIN_SPLIT_LENGTH or not _is_float32(x):
        return left @ right
    edges = itertools.pairwise(length * part // 4 for part in range(5))
    return sum(left[:, :, i:j] @ right[:, i:j] for i, j in edges)


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


def _reciprocal(x):
    """Return 1 / x, and 0 for x = 0, so that an eigenvalue of 0 contributes nothing."""
    return ops.where(x == 0, 0.0, 1.0 / x)


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
