"""The functions of eigenvalues that second-order pooling applies to a moment of trace 1.

A function f of a moment A = tr B is scaled with the degree of `f`, so that the ridge is relative:

    function      f(l) of B           result
    root          (l + e)^(1/2)       (A + e tr I)^(1/2) = tr^(1/2) f(B)
    power         (l + e)^theta       (A + e tr I)^theta = tr^theta f(B)
    log           log(l + e)          log(A + e tr I) = f(B) + log(tr) I
    inverse       1 / (l + e)         (A + e tr I)^(-1) = f(B) / tr
    max_exp       1 - (1 - l)^eta     f(B)

With x = l + e, g(l) = (f(l) - f(0)) / l is the slope from 0. The divided differences of f and g are

    f1_ij = (f(l_i) - f(l_j)) / (l_i - l_j),    g1_ij = (g(l_i) - g(l_j)) / (l_i - l_j).

Each class has closed forms of them that are accurate for equal and close eigenvalues. All methods
take eigenvalues (B, N) of at least 0. An eigenvalue of 0 is a rounding error, which some g1
magnify, so `slope_difference` is 0 there.
"""

import math

from keras import ops


def reciprocal(x):
    """Return 1 / x, and 0 for x = 0, so that an eigenvalue of 0 contributes nothing."""
    return ops.where(x == 0, 0.0, 1.0 / ops.where(x == 0, 1.0, x))


def known(eigenvalues, values):
    """Return values, and 0 where the eigenvalue is 0."""
    return ops.where(eigenvalues > 0, values, 0.0)


class Root:
    """f(l) = a = (l + e)^(1/2). With s = e^(1/2), g(l) = 1 / (a + s)."""

    degree = 0.5
    in_float32 = True  # float32 is enough for ordinary maps
    rounding = 1e-16  # smaller eigenvalues have no accurate modes in float64, without a ridge
    adds_log_trace = False

    def __init__(self, epsilon):
        self.epsilon = epsilon
        self.at_zero = epsilon**0.5

    def slope(self, eigenvalues):
        """Return g, (B, N)."""
        return reciprocal(ops.sqrt(eigenvalues + self.epsilon) + self.at_zero)

    def difference(self, eigenvalues):
        """Return f1 = 1 / (a_i + a_j), (B, N, N)."""
        a = ops.sqrt(eigenvalues + self.epsilon)
        total = _column(a) + _line(a)
        return 1.0 / total if self.epsilon else reciprocal(total)

    def slope_difference(self, eigenvalues):
        """Return g1 = -1 / ((a_i + s) (a_j + s) (a_i + a_j)), (B, N, N)."""
        g = known(eigenvalues, self.slope(eigenvalues))
        return -_column(g) * _line(g) * self.difference(eigenvalues)


class Inverse:
    """f(l) = 1 / (l + e)."""

    degree = -1.0
    in_float32 = False
    rounding = 0.0
    adds_log_trace = False

    def __init__(self, epsilon):
        self.epsilon = epsilon
        self.at_zero = 1.0 / epsilon

    def slope(self, eigenvalues):
        """Return g = -1 / (e (l + e)), (B, N)."""
        return -1.0 / (self.epsilon * (eigenvalues + self.epsilon))

    def difference(self, eigenvalues):
        """Return f1 = -1 / (x_i x_j), (B, N, N)."""
        inverse = 1.0 / (eigenvalues + self.epsilon)
        return -_column(inverse) * _line(inverse)

    def slope_difference(self, eigenvalues):
        """Return g1 = 1 / (e x_i x_j), (B, N, N)."""
        inverse = known(eigenvalues, 1.0 / (eigenvalues + self.epsilon))
        return _column(inverse / self.epsilon) * _line(inverse)


class Power:
    """f(l) = (l + e)^theta, or its limit log(l + e) for theta = 0.

    For theta = 0, the limit of (f - 1) / theta is taken in every formula. With m = (x_i x_j)^(1/2)
    and d = log(x_i / x_j) / 2, x_i - x_j = 2 m sinh(d), so that

        f1_ij = m^(theta - 1) sinh(theta d) / sinh(d),

    and for the logarithm d takes the place of sinh(theta d).
    """

    in_float32 = False
    rounding = 0.0

    def __init__(self, theta, epsilon):
        self.degree, self.epsilon = theta, epsilon
        self.adds_log_trace = theta == 0
        self.at_zero = epsilon**theta if theta else math.log(epsilon)

    def slope(self, eigenvalues):
        """Return g = e^theta (exp(theta log(1 + l / e)) - 1) / l, (B, N)."""
        positive = eigenvalues > 0
        known = ops.where(positive, eigenvalues, self.epsilon)
        growth = ops.log1p(known / self.epsilon)
        if self.degree:
            growth = self.at_zero * ops.expm1(self.degree * growth)
        at_zero = (self.degree or 1.0) * self.epsilon ** (self.degree - 1.0)
        return ops.where(positive, growth / known, at_zero)

    def difference(self, eigenvalues):
        """Return f1, (B, N, N)."""
        x = eigenvalues + self.epsilon
        d = 0.5 * ops.log1p((_column(x) - _line(x)) / _line(x))
        equal = d == 0
        d = ops.where(equal, 1.0, d)
        ratio = (ops.sinh(self.degree * d) if self.degree else d) / ops.sinh(d)
        m = x ** (0.5 * (self.degree - 1.0))
        return _column(m) * _line(m) * ops.where(equal, self.degree or 1.0, ratio)

    def slope_difference(self, eigenvalues):
        """Return g1 = (f1_ij - g_i) / l_j, (B, N, N).

        g1_ij is multiplied by l_j in the gradient, where the rounding errors of f1 and g count as
        little as those of g itself.
        """
        mask = known(eigenvalues, ops.ones_like(eigenvalues))
        difference = self.difference(eigenvalues) - _column(self.slope(eigenvalues))
        return difference * _column(mask) * _line(reciprocal(eigenvalues))


class MaxExp:
    """f(l) = 1 - (1 - l)^eta for an integer eta.

    With y = 1 - l, f(l) = 1 - y^eta and g(l) = 1 + y + ... + y^(eta - 1). Both, and their divided
    differences, are sums of positive terms. The binary digits of eta give them in log2(eta) steps.
    """

    degree = 0.0
    at_zero = 0.0
    in_float32 = False
    rounding = 0.0
    adds_log_trace = False

    def __init__(self, eta):
        self.eta = eta

    def slope(self, eigenvalues):
        """Return g, (B, N)."""
        return self._sums(eigenvalues)[0]

    def difference(self, eigenvalues):
        """Return f1, (B, N, N)."""
        return self._sums(eigenvalues)[1]

    def slope_difference(self, eigenvalues):
        """Return g1, (B, N, N)."""
        mask = known(eigenvalues, ops.ones_like(eigenvalues))
        return -self._sums(eigenvalues)[2] * _column(mask) * _line(mask)

    def _sums(self, eigenvalues):
        """Return p = 1 + ... + y^(m - 1), and the divided differences of y^m and p, for m = eta.

        Those of a product fg are f1_ij g(y_i) + f(y_j) g1_ij.
        """
        y = 1.0 - eigenvalues
        column, line = _column(y), _line(y)
        power, total = y, ops.ones_like(y)  # m = 1
        of_power, of_total = ops.ones_like(column * line), ops.zeros_like(column * line)
        for digit in f"{self.eta:b}"[1:]:
            of_total = of_total * (1.0 + _line(power)) + _column(total) * of_power
            of_power = of_power * (_column(power) + _line(power))
            power, total = power * power, total * (1.0 + power)
            if digit == "1":
                of_total = _column(total) + line * of_total
                of_power = of_power * column + _line(power)
                power, total = power * y, 1.0 + y * total
        return total, of_power, of_total


def _column(v):
    return ops.expand_dims(v, 2)


def _line(v):
    return ops.expand_dims(v, 1)
