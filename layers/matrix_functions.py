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

import itertools
import warnings

import keras
from keras import ops

from . import matrices
from .matrices import diagonal, matmul, transpose

FEW = 128  # modes up to which float64 is cheap
ROUNDING, ROUNDING_OF_FEW = 1e-12, 1e-13  # of tr: eigenvalues below are not known in float32
MOST_SINGLE = {"positions": 256, "channels": 768}  # modes that float32 is exact enough for
MANY = 256  # from as many summands on their rounding matters


def normalized_positions(features, centered=False):
    """Return Y = X / sqrt(N), minus the mean over positions where `centered`. (B, N, C)."""
    features = around_mean(features) if centered else features
    return features * _per_root(features)


def around_mean(features):
    """Return features minus their mean over positions. (B, N, C)."""
    return features - ops.mean(features, axis=1, keepdims=True)


def exact_root(x, epsilon, side="auto", form=matrices):
    """Return (Y'Y + epsilon tr I)^(1/2), on either side. (B, N, C) -> (B, C, C).

    It takes X itself: U, P and the eigenvalues for unit trace are those of Y, and 1 / sqrt(N) goes
    into their weights instead of over all of X. `form` is `matrices`, or a `FoldedTriangle` for
    (B, D) from fewer products.
    """

    @ops.custom_gradient
    def root(x):
        result, kept = on_side(
            side,
            x,
            lambda: _positions_forward(x, epsilon, form),
            lambda: _channels_forward(x, epsilon, form),
        )

        def gradient(*args, upstream=None):
            g = args[0] if upstream is None else upstream
            return on_side(
                side,
                x,
                lambda: _positions_backward(x, epsilon, form, g, *kept),
                lambda: _channels_backward(x, epsilon, form, g, *kept),
            )

        return result, gradient

    return root(x)


def newton_schulz_root(y, iterations, side="auto", form=matrices):
    """Return the Newton-Schulz root of Y'Y, on either side. (B, N, C) -> (B, C, C).

    `form` is that of `exact_root`.
    """

    def on_channels():
        root = matrix_newton_schulz(matrices.product(y, y), iterations)
        return root if form is matrices else form.fold(root)

    return on_side(side, y, lambda: _newton_schulz_on_positions(y, iterations, form), on_channels)


def on_side(side, y, positions, channels):
    """Call `positions` or `channels`; "auto" takes the smaller, at run time where N is unknown."""
    if side == "auto" and y.shape[1] is None:
        return ops.cond(ops.shape(y)[1] < y.shape[2], positions, channels)
    if side == "auto":
        side = "positions" if y.shape[1] < y.shape[2] else "channels"
    return positions() if side == "positions" else channels()


def _positions_forward(x, epsilon, form):
    """(1): the root, and what the gradient needs."""
    u, p, eigenvalues, scale, safe_scale = _modes(x, "positions")
    s, scale = epsilon**0.5, scale[:, 0] * _per_root(x)
    w = _inner_weights(eigenvalues, epsilon)
    return form.product(p, p, w * scale, s * scale), (u, p, eigenvalues, safe_scale)


def _inner_weights(eigenvalues, epsilon):
    """1 / (a + s) of (1) and (2), and 0 for modes that are rounding: these it would magnify."""
    w = 1.0 / (ops.sqrt(eigenvalues + epsilon) + epsilon**0.5)
    return ops.where(_known(eigenvalues), w, 0.0)


def _known(eigenvalues):
    """Whether modes (B, N) are more than rounding, which grows with their number."""
    few = ops.shape(eigenvalues)[1] <= FEW
    return ops.greater(eigenvalues, ops.where(few, ROUNDING_OF_FEW, ROUNDING))


def _positions_backward(x, epsilon, form, g, u, p, eigenvalues, _):
    """(2) and (3), from an upstream gradient that need not be symmetric: twice them, so G + G'."""
    # The last argument is for the channels' side: both keep as many, where N decides at run time.
    a, s = ops.sqrt(eigenvalues + epsilon), epsilon**0.5
    p = ops.reshape(p, ops.shape(x))  # a condition forgets what is static
    w = _inner_weights(eigenvalues, epsilon)
    m, trace = form.gradient_product(p, g)  # (B, N, C)
    d = matmul(m, transpose(p))  # (B, N, N)
    # (3) times epsilon, which keeps it finite for epsilon = 0.
    along_modes = ops.sum(diagonal(d) * w * _reciprocal(a), axis=1)
    through_trace = 0.5 * s * (trace - along_modes)
    # (2), and (3) as Y = U P sqrt(tr): all that multiplies P is gathered in one N x N matrix, and
    # diag(w) is taken out to the left of all, where it scales U and not the longer M.
    w = ops.expand_dims(w, 1)
    inner = d / _outer_sum(ops.where(a == 0, 1.0, a)) * w
    ridge = ops.expand_dims(_scalars(through_trace)[:, 0] * (a + s), 2)
    inner = inner - ridge * ops.eye(ops.shape(inner)[1], dtype=x.dtype)
    return matmul(u * (form.weight * _per_root(x) * w), m - matmul(inner, p))


def _channels_forward(x, epsilon, form):
    """R = V diag(a) V', and what the gradient needs."""
    # Here P is (B, C, N).
    v, p, eigenvalues, scale, safe_scale = _modes(x, "channels")
    modes, scale = transpose(v), scale[:, 0] * _per_root(x)
    root = form.product(modes, modes, ops.sqrt(eigenvalues + epsilon) * scale)
    return root, (v, p, eigenvalues, safe_scale)


def _channels_backward(x, epsilon, form, g, v, p, eigenvalues, safe_scale):
    """(4), from an upstream gradient that need not be symmetric: twice it, so G + G'."""
    a = ops.sqrt(eigenvalues + epsilon)
    v = ops.reshape(v, (-1, x.shape[2], x.shape[2]))  # a condition forgets what is static
    h = matmul(form.gradient_product(transpose(v), g)[0], v) * (form.weight * _per_root(x))
    # Y has nothing in modes that are rounding. Their part of (4), large for a small epsilon, would
    # multiply what P has there.
    known = ops.expand_dims(ops.cast(_known(eigenvalues), a.dtype), 2)
    inner = matmul(h * _reciprocal(_outer_sum(a)) * known, transpose(v))
    through_trace = 0.5 * epsilon * ops.sum(diagonal(h) * _reciprocal(a), axis=1)
    return matmul(transpose(p), inner) + _scalars(through_trace) / safe_scale * x


def matrix_root(a, epsilon):
    """Return (A + epsilon tr(A) I)^(1/2) of positive semi-definite A by (4). (B, C, C)."""

    @ops.custom_gradient
    def root(matrix):
        matrix = 0.5 * (matrix + transpose(matrix))
        eigenvalues, v, scale, safe_scale = _eigh(_widest(matrix), matrix.dtype)
        a = ops.sqrt(eigenvalues + epsilon)
        q = v * ops.expand_dims(ops.sqrt(a * scale[:, 0]), 1)
        result = matmul(q, transpose(q))

        def gradient(*args, upstream=None):
            g = args[0] if upstream is None else upstream
            h = 0.5 * matmul(transpose(v), matmul(g + transpose(g), v))
            inner = matmul(h * _reciprocal(_outer_sum(a)), transpose(v))
            through_trace = 0.5 * epsilon * ops.sum(diagonal(h) * _reciprocal(a), axis=1)
            product = matmul(v, inner)
            ridge = diagonal(product) + through_trace[:, None]
            return matrices.with_diagonal(product, ridge) / safe_scale

        return result, gradient

    return root(a)


def _newton_schulz_on_positions(y, iterations, form):
    """(6): (B, N, C) -> (B, C, C)."""
    k = matmul(y, transpose(y))  # (B, N, N)
    trace = _safe_trace(k)
    _, z = newton_schulz_iteration(k / trace, iterations)
    return form.product(y, matmul(z, y) * ops.rsqrt(trace))


def matrix_newton_schulz(a, iterations):
    """Return the Newton-Schulz root of positive semi-definite A by (5). (B, C, C)."""
    trace = _safe_trace(a)
    root, _ = newton_schulz_iteration(a / trace, iterations)
    return ops.sqrt(trace) * root


def newton_schulz_iteration(a, iterations):
    """Iterate (5) and return (Y_k, Z_k)."""
    three = 3.0 * ops.eye(a.shape[-1] or ops.shape(a)[-1], dtype=a.dtype)
    z = 0.5 * (three - a)  # the first step, where Z_0 = I
    y = matmul(a, z)
    for _ in range(iterations - 1):
        t = 0.5 * (three - matmul(z, y))
        y, z = matmul(y, t), matmul(t, z)
    return y, z


def _modes(x, side):
    """The eigenvectors U of K = XX' and P = U'X / sqrt(tr); with X' for X on the channels' side.

    Returns U (B, N, N), P (B, N, C), the eigenvalues of K / tr (B, N) and, as (B, 1, 1), sqrt(tr)
    and sqrt(tr) with 1 in place of 0, to divide by. tr is the trace of this K, N times that of A;
    an unknown number of rows counts as few.

    A float32 K knows small modes to 1e-7 of the largest eigenvalue only, and through 1 / (a + s)
    that error grows. So up to `FEW` rows K is computed and decomposed in float64 where the backend
    has it. The error of a larger one spreads over many modes: its product is float32, and up to
    `MOST_SINGLE` rows its decomposition as well, which takes half of the time. The lengths of such
    vectors are off by more than rounding and are put right; their angles are not worth a product.
    The eigenvalues are taken from P, so that they fit it also where they are rounding.
    """
    rows = x.shape[1 if side == "positions" else 2]
    k = _gram(_widest(x) if _at_most(rows, FEW) else x, side)
    if not _decomposes_in_float32() or not _at_most(rows, MOST_SINGLE[side]):
        k = _widest(k)
    _, u, scale, safe_scale = _eigh(k, x.dtype)
    if _is_float32(k):
        u = u * (1.5 - 0.5 * ops.sum(u * u, axis=1, keepdims=True))
    p = matmul(transpose(u / safe_scale), x if side == "positions" else transpose(x))
    return u, p, ops.sum(p * p, axis=2), scale, safe_scale


def _per_root(x):
    """1 / sqrt(N), which makes Y of X."""
    return ops.rsqrt(ops.cast(ops.shape(x)[1], x.dtype))


def _gram(x, side):
    """XX', or X'X, in float32 summed from four parts: that halves its rounding errors."""

    def product(part):
        if side == "positions":
            return matmul(part, transpose(part))
        return matmul(transpose(part), part)

    axis = 2 if side == "positions" else 1  # which is summed over
    length = x.shape[axis]
    if length is None or length < MANY or not _is_float32(x):
        return product(x)
    edges = itertools.pairwise(length * part // 4 for part in range(5))
    parts = [x[:, :, start:stop] if axis == 2 else x[:, start:stop] for start, stop in edges]
    return sum(map(product, parts))


def _at_most(size, limit):
    """Whether `size` is at most `limit`, or unknown."""
    return size is None or size <= limit


def _widest(matrix):
    return ops.cast(matrix, "float64") if _has_float64() else matrix


def _is_float32(matrix):
    return keras.backend.standardize_dtype(matrix.dtype) == "float32"


def _decomposes_in_float32():
    """Float32 eigendecompositions of JAX and PyTorch are up to ten times less accurate."""
    return keras.backend.backend() == "tensorflow"


def _has_float64():
    """Whether the backend computes in float64: all but JAX unasked, JAX with JAX_ENABLE_X64=1."""
    if keras.backend.backend() != "jax":
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return keras.backend.standardize_dtype(ops.zeros((), "float64").dtype) == "float64"


def _eigh(matrix, dtype):
    """Decompose matrices: eigenvalues for unit trace, eigenvectors and the scales of `_modes`.

    An eigendecomposition that meets a NaN fails for the whole batch, so a sample that is not finite
    is handed over as zero; its scale makes it, and it alone, NaN again.
    """
    trace = _trace(matrix)
    usable = ops.logical_and(ops.isfinite(trace), trace > 0)
    eigenvalues, vectors = ops.linalg.eigh(ops.where(usable, matrix, 0.0))
    eigenvalues = ops.relu(eigenvalues) / ops.where(usable, trace, 1.0)[:, 0]
    scale = ops.sqrt(trace)
    parts = eigenvalues, vectors, scale, ops.where(trace == 0, 1.0, scale)
    return tuple(ops.cast(part, dtype) for part in parts)


def _reciprocal(x):
    """1 / x, and 0 where x = 0: with epsilon = 0 a mode without energy contributes nothing."""
    return ops.where(x == 0, 0.0, 1.0 / x)


def _safe_trace(matrix):
    """The trace as (B, 1, 1), 1 for a zero matrix."""
    trace = _trace(matrix)
    return ops.where(trace == 0, 1.0, trace)


def _trace(matrix):
    """(B, C, C) -> (B, 1, 1). `ops.trace` masks the whole matrix; this reads the diagonal."""
    return _scalars(ops.sum(diagonal(matrix), axis=1))


def _scalars(vector):
    """(B,) -> (B, 1, 1)."""
    return ops.reshape(vector, (-1, 1, 1))


def _outer_sum(v):
    return ops.expand_dims(v, 2) + ops.expand_dims(v, 1)
