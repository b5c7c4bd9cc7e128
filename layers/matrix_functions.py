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
root solves a Lyapunov equation, again without differences of eigenvalues (Lin and Maji 2017, eq. 7):

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

from keras import ops


def second_moment(y):
    """Return A = Y'Y. (B, N, C) -> (B, C, C)."""
    return ops.matmul(ops.transpose(y, (0, 2, 1)), y)


def normalized_positions(features, centered=False):
    """Return Y = X / sqrt(N), minus the mean over positions where `centered`. (B, N, C)."""
    if centered:
        features = features - ops.mean(features, axis=1, keepdims=True)
    positions = ops.cast(ops.shape(features)[1], features.dtype)
    return features * ops.rsqrt(positions)


def exact_root_on_positions(y, epsilon):
    """Return (Y'Y + epsilon tr I)^(1/2) by (1) to (3). (B, N, C) -> (B, C, C)."""

    @ops.custom_gradient
    def root(y):
        k = ops.matmul(y, _transpose(y))  # (B, N, N)
        u, a, s, scale = _spectrum(k, epsilon)
        # Everything below is of unit trace; the scale returns in the last product.
        p = ops.matmul(_transpose(u / scale), y)  # (B, N, C)
        w = _reciprocal(a + s)
        q = p * ops.expand_dims(ops.sqrt(w), -1)
        result = scale * (ops.matmul(_transpose(q), q) + s * ops.eye(y.shape[-1], dtype=y.dtype))

        def gradient(*args, upstream=None):
            g = _symmetrize(args[0] if upstream is None else upstream)
            m = ops.matmul(p, g)  # (B, N, C)
            d = ops.matmul(m, _transpose(p))  # (B, N, N)
            f = _outer(w) * _reciprocal(_outer_sum(a))
            gp = 2.0 * (ops.expand_dims(w, -1) * m - ops.matmul(d * f, p))
            # (3) with e dL/de, finite for epsilon = 0 as well.
            diagonal = ops.diagonal(d, axis1=1, axis2=2)
            through_trace = s * (_trace(g) - _sum(diagonal * w * _reciprocal(a)))
            return ops.matmul(u, gp) + through_trace * (y / scale)

        return result, gradient

    return root(y)


def exact_root_on_channels(y, epsilon):
    """Return (Y'Y + epsilon tr I)^(1/2) by (4). (B, N, C) -> (B, C, C)."""
    return matrix_root(second_moment(y), epsilon)


def matrix_root(a, epsilon):
    """Return (A + epsilon tr(A) I)^(1/2) of positive semi-definite A by (4). (B, C, C)."""

    @ops.custom_gradient
    def root(matrix):
        v, a, _, scale = _spectrum(_symmetrize(matrix), epsilon)
        result = scale * ops.matmul(v * ops.expand_dims(a, 1), _transpose(v))

        def gradient(*args, upstream=None):
            g = _symmetrize(args[0] if upstream is None else upstream)
            h = ops.matmul(ops.matmul(_transpose(v), g), v)
            inner = h * _reciprocal(_outer_sum(a))
            ga = ops.matmul(ops.matmul(v, inner), _transpose(v))
            diagonal = ops.diagonal(h, axis1=1, axis2=2)
            through_trace = 0.5 * epsilon * _sum(diagonal * _reciprocal(a))
            return (ga + through_trace * ops.eye(matrix.shape[-1], dtype=matrix.dtype)) / scale

        return result, gradient

    return root(a)


def newton_schulz_on_positions(y, iterations):
    """Return the Newton-Schulz root of Y'Y by (6). (B, N, C) -> (B, C, C)."""
    k = ops.matmul(y, _transpose(y))  # (B, N, N)
    trace = _safe_trace(k)
    _, z = _newton_schulz(k / trace, iterations)
    return ops.matmul(_transpose(y), ops.matmul(z, y)) * ops.rsqrt(trace)


def newton_schulz_on_channels(y, iterations):
    """Return the Newton-Schulz root of Y'Y by (5). (B, N, C) -> (B, C, C)."""
    return matrix_newton_schulz(second_moment(y), iterations)


def matrix_newton_schulz(a, iterations):
    """Return the Newton-Schulz root of positive semi-definite A by (5). (B, C, C)."""
    trace = _safe_trace(a)
    root, _ = _newton_schulz(a / trace, iterations)
    return ops.sqrt(trace) * root


def _newton_schulz(a, iterations):
    """Iterate (5) and return (Y_k, Z_k)."""
    three = 3.0 * ops.eye(a.shape[-1] or ops.shape(a)[-1], dtype=a.dtype)
    z = 0.5 * (three - a)  # the first step, where Z_0 = I
    y = ops.matmul(a, z)
    for _ in range(iterations - 1):
        t = 0.5 * (three - ops.matmul(z, y))
        y, z = ops.matmul(y, t), ops.matmul(t, z)
    return y, z


def _spectrum(matrix, epsilon):
    """Decompose A / tr for (1) and (4).

    Returns the eigenvectors, a = sqrt(l + epsilon), s = sqrt(epsilon) and the scale sqrt(tr) as
    (B, 1, 1). A sample that is not finite gets NaN eigenvalues: an eigendecomposition that meets a
    NaN fails for the whole batch, so it is handed the zero matrix instead.
    """
    trace = _trace(matrix)
    finite = ops.isfinite(trace)
    safe = ops.where(ops.logical_and(finite, trace > 0), trace, 1.0)
    eigenvalues, vectors = ops.linalg.eigh(ops.where(finite, matrix / safe, 0.0))
    eigenvalues = ops.where(finite[:, :, 0], ops.maximum(eigenvalues, 0.0), float("nan"))
    return vectors, ops.sqrt(eigenvalues + epsilon), epsilon**0.5, ops.sqrt(safe)


def _reciprocal(x):
    """1 / x, and 0 where x = 0: with epsilon = 0 a mode without energy contributes nothing."""
    return ops.where(x == 0, 0.0, 1.0 / ops.where(x == 0, 1.0, x))


def _safe_trace(matrix):
    """The trace as (B, 1, 1), 1 for a zero matrix."""
    trace = _trace(matrix)
    return ops.where(trace == 0, ops.ones_like(trace), trace)


def _trace(matrix):
    """(B, C, C) -> (B, 1, 1)."""
    return ops.reshape(ops.trace(matrix, axis1=1, axis2=2), (-1, 1, 1))


def _sum(vector):
    """(B, N) -> (B, 1, 1)."""
    return ops.reshape(ops.sum(vector, axis=1), (-1, 1, 1))


def _outer(v):
    return ops.expand_dims(v, 2) * ops.expand_dims(v, 1)


def _outer_sum(v):
    return ops.expand_dims(v, 2) + ops.expand_dims(v, 1)


def _transpose(matrix):
    return ops.transpose(matrix, (0, 2, 1))


def _symmetrize(matrix):
    return 0.5 * (matrix + _transpose(matrix))
