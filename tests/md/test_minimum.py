"""Minima, cells and elastic constants as functions of parameters: against known answers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from jmlip.core.errors import ConfigError, DivergenceError
from jmlip.md.crystal import cubic, elastic_constants, relax_crystal
from jmlip.md.minimum import MAX_CHANGE, minimize, require_minimum
from jmlip.ops.neighbors import neighbors

SIGMA, EPSILON, SHELLS = 2.3, 0.4, 2.9  # of the nearest distance, so that the list is of shells


def lennard_jones(atoms, sigma, epsilon):
    """Energy of positions and cell over a fixed list of pairs: scales exactly with sigma."""
    reach = SHELLS * np.linalg.norm(atoms.cell[0])
    cell = np.asarray(atoms.cell.array)
    pairs = neighbors(atoms.positions, cell, np.array([True] * 3), float(reach))

    def energy(positions, cell):
        vector = positions[pairs.senders] - positions[pairs.receivers]
        vector = vector + jnp.matmul(jnp.asarray(pairs.shifts, cell.dtype), cell)
        inverse = (sigma**2 / jnp.sum(vector**2, axis=-1)) ** 3
        return 2.0 * epsilon * jnp.sum(inverse**2 - inverse)

    return energy


def lattice_sum(power):
    """sum over shells of an fcc lattice of (nearest distance / distance)^power, on its own."""
    n = np.arange(-8, 9)
    sites = np.stack(np.meshgrid(n, n, n), axis=-1).reshape(-1, 3)
    squared = (sites[sites.sum(axis=1) % 2 == 0] ** 2).sum(axis=1) / 2.0
    inside = (squared > 0) & (squared < SHELLS**2)
    return float((squared[inside] ** (-power / 2)).sum())


def fcc():
    return bulk("Ar", "fcc", a=1.6 * SIGMA)


def arrays(atoms):
    return jnp.asarray(atoms.positions), jnp.asarray(np.asarray(atoms.cell.array))


@functools.cache
def argon_constants():
    """Lattice and elastic constants, and their derivatives to sigma and epsilon."""

    def constants(sigma, epsilon):
        positions, cell = arrays(fcc())
        energy = lennard_jones(fcc(), sigma, epsilon)
        crystal = relax_crystal(energy, positions, cell)
        c = cubic(elastic_constants(energy, crystal.positions, crystal.cell))
        values = jnp.stack([jnp.cbrt(4.0 * jnp.linalg.det(crystal.cell)), *c])
        return values, (values, crystal.minimum)

    jacobian = jax.jit(jax.jacrev(constants, (0, 1), has_aux=True))
    jacobian, (values, minimum) = jacobian(SIGMA, EPSILON)
    require_minimum(minimum, tolerance=1e-8)
    return np.asarray(values), [np.asarray(each) for each in jacobian]


def test_lattice_constant_of_lennard_jones(x64):
    """a = sqrt(2) sigma (2 A12 / A6)^(1/6), from lattice sums; da/dsigma = a / sigma."""
    values, (to_sigma, to_epsilon) = argon_constants()
    a = np.sqrt(2.0) * SIGMA * (2.0 * lattice_sum(12) / lattice_sum(6)) ** (1 / 6)
    assert values[0] == pytest.approx(a, rel=1e-9)
    assert to_sigma[0] == pytest.approx(a / SIGMA, rel=1e-8)
    assert abs(to_epsilon[0]) < 1e-8


def test_elastic_constants_of_lennard_jones(x64):
    """Bulk modulus from lattice sums, Cauchy relation, and epsilon / sigma^3 in the derivatives."""
    values, (to_sigma, to_epsilon) = argon_constants()
    a, c11, c12, c44 = values
    # E(s) per atom = 2 eps (A12 x^4 - A6 x^2), x = (sigma / r)^3; B = V d2E/dV2 at the minimum
    x = lattice_sum(6) / (2.0 * lattice_sum(12))  # (sigma / r)^6
    bulk_modulus = 2 * EPSILON * (12**2 * lattice_sum(12) * x**2 - 6**2 * lattice_sum(6) * x)
    assert (c11 + 2 * c12) / 3 == pytest.approx(bulk_modulus / (9 * a**3 / 4), rel=1e-8)
    assert c12 == pytest.approx(c44, rel=1e-8)  # pair forces, every atom a center of inversion
    np.testing.assert_allclose(to_epsilon[1:], values[1:] / EPSILON, rtol=1e-7)
    np.testing.assert_allclose(to_sigma[1:], -3.0 * values[1:] / SIGMA, rtol=1e-7)


def stillinger_weber(atoms, strength):
    """Silicon, two-body and three-body terms over a fixed list, in eV and angstrom."""
    cell = np.asarray(atoms.cell.array)
    pairs = neighbors(atoms.positions, cell, np.array([True] * 3), 3.0)
    order = np.argsort(pairs.receivers, kind="stable").reshape(len(atoms), 4)
    epsilon, sigma, cut = 2.1683, 2.0951, 1.8
    different = np.broadcast_to(1.0 - np.eye(4), (len(atoms), 4, 4))

    def energy(positions, cell):
        vector = positions[pairs.senders] - positions[pairs.receivers]
        vector = (vector + jnp.matmul(jnp.asarray(pairs.shifts, cell.dtype), cell))[order]
        r = jnp.sqrt(jnp.sum(vector**2, axis=-1)) / sigma
        two = 7.049556277 * (0.6022245584 * r**-4.0 - 1.0) * jnp.exp(1.0 / (r - cut))
        screen = jnp.exp(1.2 / (r - cut))
        unit = vector / (sigma * r)[..., None]
        cosine = jnp.einsum("iax,ibx->iab", unit, unit)
        bends = screen[:, :, None] * screen[:, None, :] * (cosine + 1.0 / 3.0) ** 2
        return epsilon * (0.5 * jnp.sum(two) + strength * 0.5 * jnp.sum(bends * different))

    return energy


def test_silicon_relaxes_inside(x64):
    """Constants of Stillinger and Weber's silicon from the literature, atoms relaxed under shear.

    Cowley, Phys. Rev. Lett. 60, 2379 (1988): C11 151.4, C12 76.4, C44 56.4 GPa; clamped 117.2.
    """
    silicon = bulk("Si", a=5.40)
    silicon.positions[1] += [0.03, -0.02, 0.01]

    def constants(strength):
        positions, cell = arrays(silicon)
        energy = stillinger_weber(silicon, strength)
        crystal = relax_crystal(energy, positions, cell)
        c = cubic(elastic_constants(energy, crystal.positions, crystal.cell))
        a = jnp.cbrt(4.0 * jnp.abs(jnp.linalg.det(crystal.cell)))
        return jnp.stack([a, *c]), crystal.minimum

    slope = jax.jit(lambda s: jax.jvp(constants, (s,), (1.0,), has_aux=True))
    values, tangent, minimum = slope(21.0)
    require_minimum(minimum, tolerance=1e-8)
    assert float(values[0]) == pytest.approx(5.431, abs=0.001)
    gpa = np.asarray(values[1:]) / 0.006241509
    np.testing.assert_allclose(gpa, [151.4, 76.4, 56.4], atol=0.2)
    difference = (slope(21.01)[0] - slope(20.99)[0]) / 0.02
    np.testing.assert_allclose(tangent, difference, rtol=1e-5, atol=1e-9)


def test_a_cluster_in_open_space(x64):
    """Free translations and rotations do no harm: the bond of a triangle is 2^(1/6) sigma."""
    start = jnp.array([[0.0, 0.0, 0.0], [3.0, 0.1, 0.0], [1.1, 2.9, 0.3]])

    def distances(positions):
        vector = positions[jnp.array([0, 0, 1])] - positions[jnp.array([1, 2, 2])]
        return jnp.sqrt(jnp.sum(vector**2, axis=-1))

    def bonds(sigma):
        def energy(positions):
            inverse = (sigma / distances(positions)) ** 6
            return jnp.sum(inverse**2 - inverse)

        found = minimize(energy, start, tolerance=1e-10)
        return distances(found.position), found

    slope, found = jax.jit(jax.jacrev(bonds, has_aux=True))(SIGMA)
    np.testing.assert_allclose(distances(found.position), 2 ** (1 / 6) * SIGMA, rtol=1e-9)
    np.testing.assert_allclose(slope, 2 ** (1 / 6), rtol=1e-8)
    require_minimum(found, tolerance=1e-9)


def test_the_search_crosses_negative_curvature(x64):
    """From the wrong side of an inflection, several steps away, down and not up."""
    energy = lambda x: jnp.sum(-jnp.cos(x)) + 0.01 * jnp.sum(x**2)
    found = jax.jit(lambda x: minimize(energy, x, tolerance=1e-10))(jnp.array([2.9, -2.5]))
    assert 10 * MAX_CHANGE < 2.5
    np.testing.assert_allclose(found.position, 0.0, atol=1e-9)


def test_no_minimum_is_noticed():
    downhill = lambda x: jnp.sum(x)
    found = minimize(downhill, jnp.zeros(2), tolerance=1e-3)
    with pytest.raises(DivergenceError, match="found 1 after"):
        require_minimum(found, tolerance=1e-3)
    with pytest.raises(ConfigError, match="tolerance must be positive"):
        minimize(downhill, jnp.zeros(2), tolerance=0.0)
    flat = jnp.zeros((3, 3))
    for function in (relax_crystal, elastic_constants):
        with pytest.raises(ConfigError, match="cell with a volume"):
            function(lambda positions, cell: positions.sum(), jnp.zeros((1, 3)), flat)
