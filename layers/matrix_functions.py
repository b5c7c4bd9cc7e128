"""Square roots of second moments: the mathematics of second-order pooling as pure functions.

Notation. X is the N x C feature map of one image, minus its mean where the moment is centred,
Y = X / sqrt(N), and A = Y'Y the C x C second moment, of rank at most min(N, C). K = YY' is its
N x N twin with the same non-zero spectrum. tr = tr A = tr K is the image's scale.

All functions work on batches: Y is (B, N, C), A and the results are (B, C, C).

The exact root
--------------
R = (A + e I)^(1/2) with e = epsilon * tr. With K = U diag(l) U', a = sqrt(l + e), s = sqrt(e) and
P = U'Y, whose rows are orthogonal and satisfy PP' = diag(l),

    R = s I + P' diag(1 / (a + s)) P                                                     (1)

because on the row space of P the right-hand side has the eigenvalues s + l / (a + s) = a, and s on
its complement. Its differential, contracted with the symmetrised upstream gradient G, needs no
difference of eigenvalues. With M = PG and D = MP',

    dL/dP = 2 [diag(1 / (a + s)) M - (D o F) P],  dL/dY = U dL/dP,                       (2)
    F_ij = 1 / ((a_i + s)(a_j + s)(a_i + a_j)).

(2) holds at a fixed e. As e = epsilon * tr(Y'Y), there is a second, small term,

    dL/de = (1/2) [tr(G) / s - sum_i D_ii / (s a_i (a_i + s))],
    dL/dY += 2 epsilon (dL/de) Y.                                                        (3)

On the channels' side A = V diag(l) V' and R = V diag(a) V'. With H = V'GV the differential of the
root solves a Lyapunov equation, again without differences of eigenvalues (Lin and Maji 2017):

    dL/dA = V [H_ij / (a_i + a_j)] V' + epsilon * sum_i (H_ii / (2 a_i)) I,              (4)
    dL/dY = 2 Y dL/dA.

The Newton-Schulz root
----------------------
The coupled iteration on A / tr (Li et al. 2018, eq. 4 to 6), Y_0 = A / tr, Z_0 = I,

    T = (3 I - Z Y) / 2,   Y <- Y T,   Z <- T Z,                                         (5)

gives R = sqrt(tr) Y_k. Every Z_k is a polynomial q_k of the matrix the iteration starts from, and
Y_k = A q_k(A). Since A q(A) = Y' q(K) Y for every polynomial q, the iteration on K / tr gives the
same result, not an approximation of it, at N^3 instead of C^3:

    R = Y' Z_k Y / sqrt(tr).                                                             (6)
"""

import warnings

import keras
from keras import ops

MANY_ROWS = 128  # above, float32 is exact enough where _modes says so


def second_moment(y):
    """Return A = Y'Y. (B, N, C) -> (B, C, C)."""
    return ops.matmul(ops.transpose(y, (0, 2, 1)), y)


def normalized_positions(features, centered=False):
    """Return Y = X / sqrt(N), minus the mean over positions where `centered`. (B, N, C)."""
    if centered:
        features = features - ops.mean(features, axis=1, keepdims=True)
    positions = ops.cast(ops.shape(features)[1], features.dtype)
    return features * ops.rsqrt(positions)


def exact_root(y, epsilon, side="auto"):
    """Return (Y'Y + epsilon tr I)^(1/2), on either side. (B, N, C) -> (B, C, C)."""

    @ops.custom_gradient
    def root(y):
        result, kept = on_side(
            side,
            y,
            lambda: _positions_forward(y, epsilon),
            lambda: _channels_forward(y, epsilon),
        )

        def gradient(*args, upstream=None):
            g = args[0] if upstream is None else upstream
            g = g + _transpose(g)  # twice the G of (2) and (4)
            return on_side(
                side,
                y,
                lambda: _positions_backward(y, epsilon, g, *kept),
                lambda: _channels_backward(y, epsilon, g, *kept),
            )

        return result, gradient

    return root(y)


def newton_schulz_root(y, iterations, side="auto"):
    """Return the Newton-Schulz root of Y'Y, on either side. (B, N, C) -> (B, C, C)."""
    return on_side(
        side,
        y,
        lambda: _newton_schulz_on_positions(y, iterations),
        lambda: matrix_newton_schulz(second_moment(y), iterations),
    )


def on_side(side, y, positions, channels):
    """Call `positions` or `channels`; "auto" takes the smaller, at run time where N is unknown."""
    if side == "auto" and y.shape[1] is None:
        return ops.cond(ops.shape(y)[1] < y.shape[2], positions, channels)
    if side == "auto":
        side = "positions" if y.shape[1] < y.shape[2] else "channels"
    return positions() if side == "positions" else channels()


def _positions_forward(y, epsilon):
    """(1): the root, and what the gradient needs."""
    gram = y.dtype if _has_many_rows(y) else "float64"
    u, p, eigenvalues, scale, safe_scale = _modes(y, gram, "float64")
    s = epsilon**0.5
    w = _reciprocal(ops.sqrt(eigenvalues + epsilon) + s)
    q = p * ops.expand_dims(ops.sqrt(w * scale[:, 0]), 2)
    result = _add_to_diagonal(ops.matmul(_transpose(q), q), s * scale[:, 0])
    return result, (u, p, eigenvalues, safe_scale)


def _positions_backward(y, epsilon, g, u, p, eigenvalues, safe_scale):
    """(2) and (3), from g = 2 G: (B, C, C) -> (B, N, C)."""
    a, s = ops.sqrt(eigenvalues + epsilon), epsilon**0.5
    w = _reciprocal(a + s)
    m = ops.matmul(p, g)  # (B, N, C)
    d = ops.matmul(m, _transpose(p))  # (B, N, N)
    # (3) times epsilon, which keeps it finite for epsilon = 0.
    along_modes = ops.sum(_diagonal(d) * w * _reciprocal(a), axis=1)
    through_trace = 0.5 * s * (ops.sum(_diagonal(g), axis=1) - along_modes)
    # (2), and (3) as Y = U P sqrt(tr): all that multiplies P is gathered in one N x N matrix.
    rows, columns = ops.expand_dims(w, 2), ops.expand_dims(w, 1)
    inner = rows * (d * _reciprocal(_outer_sum(a))) * columns
    inner = inner - _scalars(through_trace) * ops.eye(ops.shape(inner)[1], dtype=y.dtype)
    return ops.matmul(u, rows * m - ops.matmul(inner, p))


def _channels_forward(y, epsilon):
    """R = V diag(a) V', and what the gradient needs."""
    rows = _transpose(y)
    # JAX's float32 eigendecomposition is ten times less accurate than TensorFlow's.
    single = _has_many_rows(rows) and keras.backend.backend() != "jax"
    precision = y.dtype if single else "float64"
    v, p, eigenvalues, scale, safe_scale = _modes(
        rows, precision, precision
    )  # (B, C, C), (B, C, N)
    q = v * ops.expand_dims(ops.sqrt(ops.sqrt(eigenvalues + epsilon) * scale[:, 0]), 1)
    return ops.matmul(q, _transpose(q)), (v, p, eigenvalues, safe_scale)


def _channels_backward(y, epsilon, g, v, p, eigenvalues, safe_scale):
    """(4), from g = 2 G: (B, C, C) -> (B, N, C)."""
    a = ops.sqrt(eigenvalues + epsilon)
    h = ops.matmul(_transpose(v), ops.matmul(g, v))
    inner = ops.matmul(h * _reciprocal(_outer_sum(a)), _transpose(v))
    through_trace = 0.5 * epsilon * ops.sum(_diagonal(h) * _reciprocal(a), axis=1)
    return ops.matmul(_transpose(p), inner) + _scalars(through_trace) / safe_scale * y


def matrix_root(a, epsilon):
    """Return (A + epsilon tr(A) I)^(1/2) of positive semi-definite A by (4). (B, C, C)."""

    @ops.custom_gradient
    def root(matrix):
        matrix = 0.5 * (matrix + _transpose(matrix))
        wide = ops.cast(matrix, "float64") if _has_float64() else matrix
        eigenvalues, v, scale, safe_scale = _eigh(wide, matrix.dtype)
        a = ops.sqrt(eigenvalues + epsilon)
        q = v * ops.expand_dims(ops.sqrt(a * scale[:, 0]), 1)
        result = ops.matmul(q, _transpose(q))

        def gradient(*args, upstream=None):
            g = args[0] if upstream is None else upstream
            h = 0.5 * ops.matmul(_transpose(v), ops.matmul(g + _transpose(g), v))
            inner = ops.matmul(h * _reciprocal(_outer_sum(a)), _transpose(v))
            through_trace = 0.5 * epsilon * ops.sum(_diagonal(h) * _reciprocal(a), axis=1)
            return _add_to_diagonal(ops.matmul(v, inner), through_trace[:, None]) / safe_scale

        return result, gradient

    return root(a)


def _newton_schulz_on_positions(y, iterations):
    """(6): (B, N, C) -> (B, C, C)."""
    k = ops.matmul(y, _transpose(y))  # (B, N, N)
    trace = _safe_trace(k)
    _, z = newton_schulz_iteration(k / trace, iterations)
    return ops.matmul(_transpose(y), ops.matmul(z, y)) * ops.rsqrt(trace)


def matrix_newton_schulz(a, iterations):
    """Return the Newton-Schulz root of positive semi-definite A by (5). (B, C, C)."""
    trace = _safe_trace(a)
    root, _ = newton_schulz_iteration(a / trace, iterations)
    return ops.sqrt(trace) * root


def newton_schulz_iteration(a, iterations):
    """Iterate (5) and return (Y_k, Z_k)."""
    three = 3.0 * ops.eye(a.shape[-1] or ops.shape(a)[-1], dtype=a.dtype)
    z = 0.5 * (three - a)  # the first step, where Z_0 = I
    y = ops.matmul(a, z)
    for _ in range(iterations - 1):
        t = 0.5 * (three - ops.matmul(z, y))
        y, z = ops.matmul(y, t), ops.matmul(t, z)
    return y, z


def _modes(y, gram_dtype, eigh_dtype):
    """The eigenvectors U of K = YY' and P = U'Y / sqrt(tr).

    Returns U (B, N, N), P (B, N, C), the eigenvalues of K / tr (B, N) and, as (B, 1, 1), sqrt(tr)
    and sqrt(tr) with 1 in place of 0, to divide by.

    A float32 K knows small modes to 1e-7 of the largest eigenvalue only, and through 1 / (a + s)
    that error grows. So a small K is computed and decomposed in float64 where the backend has it.
    The error of a large one spreads over many modes: its product may be float32, and on the
    channels' side, of which the contract asks less, its decomposition as well. Then U is made
    orthogonal to rounding by a Newton-Schulz step, and the eigenvalues are taken from P.
    """
    refined = eigh_dtype != "float64" or not _has_float64()
    gram = ops.cast(y, gram_dtype if _has_float64() else y.dtype)
    k = ops.matmul(gram, _transpose(gram))
    eigenvalues, u, scale, safe_scale = _eigh(k if refined else ops.cast(k, "float64"), y.dtype)
    if refined:
        u = 1.5 * u - 0.5 * ops.matmul(u, ops.matmul(_transpose(u), u))
    p = ops.matmul(_transpose(u) / safe_scale, y)
    if refined:
        eigenvalues = ops.sum(p * p, axis=2)
    return u, p, eigenvalues, scale, safe_scale


def _has_many_rows(y):
    return y.shape[1] is not None and y.shape[1] > MANY_ROWS


def _has_float64():
    """Whether the backend computes in float64: all but JAX unasked, JAX with JAX_ENABLE_X64=1."""
    if keras.backend.backend() != "jax":
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return keras.backend.standardize_dtype(ops.zeros((), "float64").dtype) == "float64"


def _eigh(matrix, dtype):
    """Decompose matrices of unit trace: eigenvalues, eigenvectors and the scales of `_modes`.

    An eigendecomposition that meets a NaN fails for the whole batch, so a sample that is not finite
    is handed over as zero; its scale makes it, and it alone, NaN again.
    """
    trace = _trace(matrix)
    usable = ops.logical_and(ops.isfinite(trace), trace > 0)
    unit = ops.where(usable, matrix / ops.where(usable, trace, 1.0), 0.0)
    eigenvalues, vectors = ops.linalg.eigh(unit)
    scale = ops.sqrt(trace)
    parts = ops.maximum(eigenvalues, 0.0), vectors, scale, ops.where(trace == 0, 1.0, scale)
    return tuple(ops.cast(part, dtype) for part in parts)


def _add_to_diagonal(matrix, value):
    """Add `value` (B, 1) to the diagonals of (B, C, C) without another pass over the matrix."""
    size = matrix.shape[-1]
    rows = ops.arange(ops.shape(matrix)[0] * size)
    diagonal = ops.reshape(_diagonal(matrix) + value, (-1,))
    flat = ops.reshape(matrix, (-1, size))
    flat = ops.scatter_update(flat, ops.stack([rows, rows % size], axis=1), diagonal)
    return ops.reshape(flat, (-1, size, size))


def _reciprocal(x):
    """1 / x, and 0 where x = 0: with epsilon = 0 a mode without energy contributes nothing."""
    return ops.where(x == 0, 0.0, 1.0 / x)


def _safe_trace(matrix):
    """The trace as (B, 1, 1), 1 for a zero matrix."""
    trace = _trace(matrix)
    return ops.where(trace == 0, 1.0, trace)


def _trace(matrix):
    """(B, C, C) -> (B, 1, 1). `ops.trace` masks the whole matrix; this reads the diagonal."""
    return _scalars(ops.sum(_diagonal(matrix), axis=1))


def _diagonal(matrix):
    """(B, C, C) -> (B, C)."""
    return ops.diagonal(matrix, axis1=1, axis2=2)


def _scalars(vector):
    """(B,) -> (B, 1, 1)."""
    return ops.reshape(vector, (-1, 1, 1))


def _outer_sum(v):
    return ops.expand_dims(v, 2) + ops.expand_dims(v, 1)


def _transpose(matrix):
    return ops.transpose(matrix, (0, 2, 1))
