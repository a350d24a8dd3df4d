"""The minimum of an energy as a differentiable function of all that the energy depends on.

At the minimum x*(theta) the gradient g(x, theta) vanishes, whence (implicit function theorem)

    dx*/dtheta = -H^-1 dg/dtheta,    H = dg/dx,

by conjugate gradients with products H v, never H. The way to the minimum is not differentiated and
costs no memory. Directions that cost no energy (translations) are no harm: nothing pushes along
them.

The search is Newton's method with truncated conjugate gradients, which stop at negative curvature,
and backtracking.

References:
    Nocedal, Wright, Numerical Optimization, 2nd ed., algorithm 7.1.
    Blondel et al., NeurIPS (2022), arXiv:2105.15183, on implicit differentiation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jmlip.core.errors import ConfigError, DivergenceError
from jmlip.core.types import PyTree

Vector = Float[Array, " n"]
Energy = Callable[[PyTree], Float[Array, ""]]

MAX_STEPS = 200
MAX_CHANGE = 0.2
"""Largest change of a variable in one step: angstrom for positions; strains change less anyway."""
_TOLERANCE = {"float64": (1e-11, 1e-13), "float32": (1e-6, 1e-5)}
"""Residual of the equations for derivatives, relative, and what counts as rounding, eV / angstrom.

A right side of nothing but rounding may push along directions that cost no energy.
"""


class Minimum(NamedTuple):
    """Where the search ended."""

    position: PyTree
    energy: Float[Array, ""]  # eV
    largest_gradient: Float[Array, ""]  # of any variable; no minimum where it is not small


def minimize(energy: Energy, start: PyTree, *, tolerance: float) -> Minimum:
    """The minimum near `start`, differentiable in what `energy` closes over.

    A start from which nothing pushes (a saddle, by symmetry) is kept: curvature is not tested.
    Forward or reverse, once. Nothing is raised under `jit`: see `require_minimum`. Nothing flows
    back to `start`.

    Args:
        energy: of an array, or of a pytree of arrays, twice differentiable.
        start: of one floating-point precision.
        tolerance: of the largest component of the gradient; in float64 1e-8 eV / angstrom is easy.

    Raises:
        ConfigError: the tolerance is not positive.

    Example:
        >>> well = lambda center: lambda x: (x - center) ** 2 + (x - center) ** 4
        >>> bottom = lambda center: minimize(well(center), jnp.zeros(()), tolerance=1e-4).position
        >>> round(float(bottom(0.3)), 3), float(jax.grad(bottom)(0.3))
        (0.3, 1.0)
    """
    if not tolerance > 0.0:
        raise ConfigError(f"tolerance must be positive, found {tolerance}; give eV / angstrom.")
    first, shape = ravel_pytree(jax.lax.stop_gradient(start))
    function, closed = jax.closure_convert(lambda x: energy(shape(x)), first)
    still = lambda x: function(x, *jax.lax.stop_gradient(closed))
    found = jax.lax.stop_gradient(_search(still, first, tolerance))
    gradient = jax.grad(function)(found, *closed)
    # the step is nothing but rounding; its derivative is that of the minimum
    found = found - solve(lambda v: jax.jvp(jax.grad(still), (found,), (v,))[1], gradient)
    largest = jnp.abs(jax.lax.stop_gradient(gradient)).max()
    return Minimum(shape(found), function(found, *closed), largest)


def require_minimum(minimum: Minimum, *, tolerance: float) -> None:
    """Nothing, if the search came to a minimum; only outside of `jit`.

    Raises:
        DivergenceError: the gradient is larger than `tolerance`, or not finite.
    """
    found = float(jnp.max(minimum.largest_gradient))
    if not found <= tolerance:
        raise DivergenceError(
            f"at a minimum the gradient must be at most {tolerance:g}, found {found:.3g} after "
            f"{MAX_STEPS} steps or fewer; begin nearer to it, take float64, or a larger tolerance."
        )


def solve(hessian_product: Callable[[Vector], Vector], right_side: Vector) -> Vector:
    """H^-1 b by conjugate gradients, differentiable; b must have no part along free directions."""
    relative, absolute = _TOLERANCE[right_side.dtype.name]
    size = max(100, 4 * right_side.size)
    cg = jax.scipy.sparse.linalg.cg
    return cg(hessian_product, right_side, tol=relative, atol=absolute, maxiter=size)[0]


class _Search(NamedTuple):
    position: Vector
    energy: Array
    gradient: Vector
    step: Array
    stuck: Array


def _search(energy: Energy, start: Vector, tolerance: float) -> Vector:
    value_and_gradient = jax.value_and_grad(energy)

    def unfinished(at):
        far = jnp.abs(at.gradient).max() > tolerance
        return far & (at.step < MAX_STEPS) & ~at.stuck

    def newton(at):
        product = lambda v: jax.jvp(jax.grad(energy), (at.position,), (v,))[1]
        direction = _truncated_newton(product, at.gradient)
        direction *= jnp.minimum(1.0, MAX_CHANGE / jnp.abs(direction).max())
        position, found = _backtrack(energy, at, direction)
        value, gradient = value_and_gradient(position)
        return _Search(position, value, gradient, at.step + 1, ~found)

    value, gradient = value_and_gradient(start)
    none = jnp.zeros((), jnp.int32)
    begin = _Search(start, value, gradient, none, ~jnp.isfinite(value))
    return jax.lax.while_loop(unfinished, newton, begin).position


def _truncated_newton(product: Callable[[Vector], Vector], gradient: Vector) -> Vector:
    """Conjugate gradients on H d = -g, up to the first direction of negative curvature."""
    square = jnp.vdot(gradient, gradient)
    # quadratic convergence: the nearer, the better
    goal = jnp.minimum(0.5, jnp.sqrt(jnp.sqrt(square))) ** 2 * square

    def unfinished(carry):
        _, residual, _, count, bent = carry
        return (jnp.vdot(residual, residual) > goal) & (count < 2 * gradient.size) & ~bent

    def advance(carry):
        direction, residual, along, count, _ = carry
        image = product(along)
        curvature, size = jnp.vdot(along, image), jnp.vdot(residual, residual)
        # flat directions, in which rounding alone bends the energy, count as bent
        epsilon = jnp.finfo(gradient.dtype).eps
        bent = curvature <= 10.0 * epsilon * jnp.linalg.norm(along) * jnp.linalg.norm(image)
        length = jnp.where(bent, 0.0, size / jnp.where(bent, 1.0, curvature))
        residual = residual - length * image
        ahead = residual + jnp.vdot(residual, residual) / size * along
        return direction + length * along, residual, ahead, count + 1, bent

    begin = (jnp.zeros_like(gradient), -gradient, -gradient, 0, jnp.zeros((), bool))
    direction, *_ = jax.lax.while_loop(unfinished, advance, begin)
    return jnp.where(jnp.vdot(direction, gradient) < 0.0, direction, -gradient)


def _backtrack(energy: Energy, at: _Search, direction: Vector) -> tuple[Vector, Array]:
    slope = jnp.vdot(direction, at.gradient)
    # near the minimum energies differ by less than they are rounded
    slack = 20.0 * jnp.finfo(at.energy.dtype).eps * jnp.abs(at.energy)

    def too_high(length):
        allowed = at.energy + 1e-4 * length * slope + slack
        return ~(energy(at.position + length * direction) <= allowed)  # NaN is too high

    keep_on = lambda length: too_high(length) & (length > 1e-9)
    length = jax.lax.while_loop(keep_on, lambda length: 0.5 * length, jnp.ones_like(slope))
    found = length > 1e-9
    return at.position + jnp.where(found, length, 0.0) * direction, found
