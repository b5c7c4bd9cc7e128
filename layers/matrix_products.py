"""Functions of symmetric matrices and their derivatives, by matrix products alone.

K is a batch of symmetric N x N matrices with eigenvalues l from 0 to 1, and x = l + e.

The square root
---------------
For M = (K + e I) / (1 + e), Y_0 = M and Z_0 = I, the coupled iteration

    P = Z Y,    W = a I + b P + c P^2,    Y <- Y W,    Z <- W Z                          (1)

gives M^(1/2) = Y and M^(-1/2) = Z. It multiplies the root m of each eigenvalue of P by
a + b m^2 + c m^4 and moves it to 1. Each step has coefficients of its own, those of the odd quintic
that is closest to 1 on the interval of all m (the scheme of Polar Express, Amsel et al. 2025).
Seven steps suffice for e = 1e-6, and Newton-Schulz steps would be 19.

The derivative of the square root
---------------------------------
X, the derivative of S = K^(1/2) along H, solves SX + XS = H, and

    sign [S   H] = [I  2X]                                                               (2)
         [0  -S]   [0  -I]

(Higham 2008, Functions of Matrices, section 2.4). With B_0 = S and D_0 = H, the same quintics give
the sign of that matrix, and every step keeps its form:

    P = B^2,    E = BD - DB,    W = a I + b P + c P^2,    F = b E + c (PE + EP),
    D <- BF + DW,    B <- BW                                                             (3)

The derivative is self-adjoint, so (2) also maps an upstream gradient to the gradient.

A class has one of the functions of `spectral_functions`. With Y'Y in place of A / tr, the result is

    f(Y'Y) = f(0) I + Y'T,    T = g(K) Y,    K = YY',                                    (4)

on the positions' side, and `value` on the channels' side. For the upstream gradient G + G', the
gradient of (4) is T (G + G') + L Y, where L is the derivative of g along Y (G + G') Y'. All classes
but that of MaxExp compute L from T (G + G') T' = g(K) Y (G + G') Y' g(K), whose rounding errors are
not magnified by the small eigenvalues of K.
"""

import functools

import keras
import numpy as np
from keras import ops

from .matrices import transpose
from .spectral_functions import Inverse, MaxExp, Power, Root

LEAST_EPSILON = 1e-5  # in float32, in which K has errors of 1e-7
WIDE_INTERVAL = 1e-2  # on a smaller one, the Taylor polynomial is as close to 1 as the best one
TAYLOR = 15 / 8, -10 / 8, 3 / 8


def by_products(function, dtype="float64", lu=False):
    """Return the class of this file for an instance of `spectral_functions`, or `None`.

    Args:
        function: An instance of one of the classes of `spectral_functions`.
        dtype: `"float64"` or `"float32"`, the type of all products. Defaults to `"float64"`.
        lu: Boolean, whether the inverse may be computed by an LU decomposition.
            Defaults to `False`.
    """
    kind = _products_of(function)
    kind = InverseLU if lu and kind is InverseProducts else kind
    return None if kind is None else kind(function, dtype)


def has_products(function):
    """Return whether `by_products` has a class for `function`."""
    return _products_of(function) is not None


def _products_of(function):
    if isinstance(function, Root) and function.epsilon > 0:
        return RootProducts
    if isinstance(function, Power):
        return {0.5: RootProducts, 0.25: QuarterProducts}.get(function.degree)
    if isinstance(function, Inverse):
        return InverseProducts
    return MaxExpProducts if isinstance(function, MaxExp) else None


class RootProducts:
    """f(K) = S = (K + e I)^(1/2). With s = e^(1/2), g(K) = (S + s I)^(-1)."""

    from_t = True  # L is computed from T (G + G') T', not from Y (G + G') Y'
    narrow = True  # the type of Y is exact enough for L

    def __init__(self, function, dtype):
        self.function, self.dtype, epsilon = function, dtype, function.epsilon
        self.epsilon, self.scale = epsilon, (1.0 + epsilon) ** 0.5
        self.steps = quintics((epsilon / (1.0 + epsilon)) ** 0.5)
        self.in_float32 = epsilon >= LEAST_EPSILON  # or (1) may diverge in float32

    def slope(self, k):
        """Return g(K), and the tensors that `slope_derivative` needs."""
        y, z = self._roots(k)
        return inverse_of_sum(z / self.scale, self.epsilon**0.5), (y,)

    def slope_derivative(self, d, y):
        """Return L for D = T (G + G') T'."""
        return -self.value_derivative(d, y)

    def value(self, a):
        """Return f(A), and the tensors that `value_derivative` needs."""
        y, _ = self._roots(a)
        return self.scale * y, (y,)

    def value_derivative(self, h, y):
        """Return the derivative of f along H."""
        return lyapunov(y, h / self.scale, self.steps)

    def _roots(self, k):
        return coupled_roots(_with_ridge(k, self.epsilon), self.steps)


class QuarterProducts:
    """f(K) = Q = (K + e I)^(1/4). With q = e^(1/4), g(K) = (Q + q I)^(-1) (Q^2 + q^2 I)^(-1)."""

    from_t = True
    narrow = False
    in_float32 = False

    def __init__(self, function, dtype):
        self.function, self.dtype, epsilon = function, dtype, function.epsilon
        self.epsilon, self.scale = epsilon, (1.0 + epsilon) ** 0.25
        smallest = (epsilon / (1.0 + epsilon)) ** 0.25  # of the eigenvalues of Q / scale
        self.steps, self.root_steps = quintics(smallest), quintics(smallest**2)

    def slope(self, k):
        """Return g(K), and the tensors that `slope_derivative` needs."""
        y, z, q, inverse = self._roots(k)
        first = inverse_of_sum(inverse / self.scale, self.epsilon**0.25)
        return first @ inverse_of_sum(z / self.scale**2, self.epsilon**0.5), (y, q)

    def slope_derivative(self, d, y, q):
        """Return L for D = T (G + G') T'.

        With S = Q^2 and s = q^2, L is the derivative of S along -(Q + q I) D plus that of Q along
        -D (S + s I), both made symmetric.
        """
        along_s = -_symmetric(self.scale * (q @ d)) - self.epsilon**0.25 * d
        along_q = -_symmetric(self.scale**2 * (d @ y)) - self.epsilon**0.5 * d
        along_s = along_s + lyapunov(q, along_q / self.scale, self.steps)
        return lyapunov(y, along_s / self.scale**2, self.root_steps)

    def value(self, a):
        """Return f(A), and the tensors that `value_derivative` needs."""
        y, _, q, _ = self._roots(a)
        return self.scale * q, (y, q)

    def value_derivative(self, h, y, q):
        """Return the derivative of f along H."""
        along_s = lyapunov(q, h / self.scale, self.steps)
        return lyapunov(y, along_s / self.scale**2, self.root_steps)

    def _roots(self, k):
        y, z = coupled_roots(_with_ridge(k, self.epsilon), self.root_steps)
        return y, z, *coupled_roots(y, self.steps)


class InverseProducts:
    """f(K) = V = (K + e I)^(-1), and g(K) = -V / e."""

    from_t = True
    narrow = True
    in_float32 = False

    def __init__(self, function, dtype):
        self.function, self.dtype, epsilon = function, dtype, function.epsilon
        self.epsilon = epsilon
        # Without a null space of K, g cancels most of f(0).
        self.steps = quintics((epsilon / (1.0 + epsilon)) ** 0.5, tolerance=1e-12)

    def slope(self, k):
        """Return g(K), and the tensors that `slope_derivative` needs."""
        inverse = self._inverse(k)
        return inverse / -self.epsilon, (inverse,)

    def slope_derivative(self, d, _):
        """Return L = V Y (G + G') Y' V / e for D = T (G + G') T'."""
        return self.epsilon * d

    def value(self, a):
        """Return f(A), and the tensors that `value_derivative` needs."""
        inverse = self._inverse(a)
        return inverse, (inverse,)

    def value_derivative(self, h, inverse):
        """Return the derivative of f along H."""
        return -inverse @ h @ inverse

    def _inverse(self, k):
        _, z = coupled_roots(_with_ridge(k, self.epsilon), self.steps)
        return z @ z / (1.0 + self.epsilon)


class InverseLU(InverseProducts):
    """The same by an LU decomposition, which is faster where it is not compiled: on CPUs."""

    def _inverse(self, k):
        # A matrix that is not finite would make the decomposition fail for the whole batch.
        finite = ops.isfinite(ops.sum(k, axis=(1, 2), keepdims=True))
        inverse = ops.inv(ops.where(finite, k, 0.0) + self.epsilon * _identity(k))
        return ops.where(finite, inverse, np.nan)


class MaxExpProducts:
    """f(K) = I - Z^n with Z = I - K and n = eta, and g(K) = I + Z + ... + Z^(n - 1)."""

    from_t = False
    narrow = True
    in_float32 = True

    def __init__(self, function, dtype):
        self.function, self.dtype = function, dtype
        self.digits = f"{function.eta:b}"[1:]

    def slope(self, k):
        """Return g(K), and the tensors that `slope_derivative` needs."""
        z = _identity(k) - k
        return self._powers(z)[1], (z,)

    def slope_derivative(self, d, z):
        """Return L for D = Y (G + G') Y'."""
        return -self._derivatives(z, d)[1]

    def value(self, a):
        """Return f(A), and the tensors that `value_derivative` needs."""
        z = _identity(a) - a
        return _identity(a) - self._powers(z)[0], (z,)

    def value_derivative(self, h, z):
        """Return the derivative of f along H."""
        return self._derivatives(z, h)[0]

    def _powers(self, z):
        """Return Z^n and I + ... + Z^(n - 1), in about 2 log2(n) products."""
        power, total = z, _identity(z)
        for digit in self.digits:
            power, total = power @ power, total + total @ power
            if digit == "1":
                power, total = power @ z, _identity(z) + z @ total
        return power, total

    def _derivatives(self, z, d):
        """Return the derivatives of both along D."""
        power, total, of_power, of_total = z, _identity(z), d, ops.zeros_like(d)
        for digit in self.digits:
            of_total = of_total + of_total @ power + total @ of_power
            of_power = 2.0 * _symmetric(power @ of_power)
            power, total = power @ power, total + total @ power
            if digit == "1":
                of_total = d @ total + z @ of_total
                of_power = of_power @ z + power @ d
                power, total = power @ z, _identity(z) + z @ total
        return of_power, of_total


@functools.lru_cache
def quintics(smallest, tolerance=2e-7):
    """Return the coefficients (a, b, c) of the steps of (1) for roots from `smallest` to 1.

    The last step has an error of at most `tolerance`, relative to the root. Coefficients for
    another `smallest` do not converge, or take more steps.
    """
    low, high, error, steps = smallest, 1.0, 1.0, []
    while error > tolerance:
        if high - low > WIDE_INTERVAL:
            step, error = _closest_to_one(low, high)
        else:
            step, error = TAYLOR, 2.5 * (high - 1.0) ** 3
        steps.append(step)
        low, high = 1.0 - error, 1.0 + error
    return tuple(steps)


def _closest_to_one(low, high):
    """Return (a, b, c) that minimises E, the maximum of |1 - am - bm^3 - cm^5|, and E (Remez).

    The error takes the values E, -E, E, -E at `low`, two points between, and `high`.
    """
    between = np.array([3.0 * low + high, low + 3.0 * high]) / 4.0
    for _ in range(100):
        m = np.array([low, *between, high])
        unknowns = np.stack([m, m**3, m**5, [1.0, -1.0, 1.0, -1.0]], axis=1)
        a, b, c, error = np.linalg.solve(unknowns, np.ones(4))
        extrema = np.sort(np.roots([5.0 * c, 3.0 * b, a]).real) ** 0.5  # of the quintic
        if np.allclose(extrema, between, rtol=1e-12, atol=0):
            break
        between = extrema
    return (float(a), float(b), float(c)), abs(float(error))


def coupled_roots(m, steps):
    """Return M^(1/2) and M^(-1/2) by (1). (B, N, N) -> two of (B, N, N)."""
    (a, b, c), *others = steps
    z = a * _identity(m) + m @ (b * _identity(m) + c * m)  # P = M in the first step
    y = m @ z
    for a, b, c in others:
        p = z @ y
        w = a * _identity(m) + p @ (b * _identity(m) + c * p)
        y, z = y @ w, w @ z
    return y, z


def inverse_of_sum(z, s):
    """Return (S + s I)^(-1) from Z = S^(-1), for eigenvalues of S of at least s.

    It is Z V^(-1) with V = I + sZ = (T + 3I) / 2, where T has eigenvalues from -1 to 1. V^(-1) is
    replaced by the polynomial p of T that is closest to it, of degree 8:

        V p(T) = I - T_9(T) / T_9(-3),    error at most 1 / |T_9(-3)| = 3e-7,

    with the Chebyshev polynomial T_9. Three times three terms need four products.
    """
    t = 2.0 * s * z - _identity(z)
    square = t @ t
    cube = square @ t
    first, second, third = (
        a * _identity(t) + b * t + c * square for a, b, c in _inverse_coefficients()
    )
    return z @ (first + cube @ (second + cube @ third))


@functools.lru_cache
def _inverse_coefficients():
    """Return the nine coefficients of p, from the constant, as three lines of three."""
    chebyshev = np.polynomial.Chebyshev.basis(9).convert(kind=np.polynomial.Polynomial)
    p = (1.0 - chebyshev / chebyshev(-3.0)) // np.polynomial.Polynomial([1.5, 0.5])
    return tuple(tuple(map(float, line)) for line in p.coef.reshape(3, 3))


def lyapunov(s, h, steps):
    """Return the solution X of SX + XS = H by (3), for symmetric H. (B, N, N) -> (B, N, N)."""
    b, d = s, h
    for i, j, k in steps:
        p, bd = b @ b, b @ d
        e = bd - transpose(bd)  # antisymmetric, and so are PE + EP and F
        pe = p @ e
        f = j * e + k * (pe - transpose(pe))
        w = i * _identity(p) + p @ (j * _identity(p) + k * p)
        b, d = b @ w, b @ f + d @ w
    return 0.5 * d


def _with_ridge(k, epsilon):
    """Return (K + e I) / (1 + e)."""
    return (k + epsilon * _identity(k)) / (1.0 + epsilon)


def _identity(k):
    return ops.eye(k.shape[-1] or ops.shape(k)[-1], dtype=keras.backend.standardize_dtype(k.dtype))


def _symmetric(matrix):
    return 0.5 * (matrix + transpose(matrix))
