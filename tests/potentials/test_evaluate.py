"""Forces, virials and Hessian products of `evaluate` against ASE's Lennard-Jones."""

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.calculators.lj import LennardJones as AseLennardJones

from jmlip.core.structure import Structure
from jmlip.potentials.evaluate import atomic_virials, energies, evaluate, hessian_vector_product
from tests.contracts.brute_force import brute_force_graph
from tests.contracts.lennard_jones import LennardJones, LennardJonesConfig

CONFIG = LennardJonesConfig(species=(10,), cutoff=4.5, onset=3.0, epsilon=0.3, sigma=2.3)
PARAMS = {"sigma": np.array([2.3]), "epsilon": np.array(0.3)}
RTOL = 1e-10  # both programs work in float64


def apply(params, graph):
    return LennardJones(CONFIG).apply({"params": params}, graph)


@pytest.fixture(params=["crystal", "small triclinic cell", "cluster"])
def atoms(request):
    if request.param == "crystal":
        atoms = ase.build.bulk("Ne", "fcc", a=3.7, cubic=True)
    elif request.param == "small triclinic cell":
        atoms = ase.build.bulk("Ne", "fcc", a=3.6)  # its shortest lattice vector is 2.5 angstrom
    else:
        atoms = ase.build.molecule("C6H6")
        atoms.numbers[:] = 10
        atoms.positions *= 1.9
    atoms.rattle(0.1, seed=3)
    if atoms.pbc.all():
        strain = np.eye(3) + 0.03 * np.random.default_rng(4).normal(size=(3, 3))
        atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
    atoms.calc = AseLennardJones(
        sigma=CONFIG.sigma, epsilon=CONFIG.epsilon, rc=CONFIG.cutoff, ro=CONFIG.onset, smooth=True
    )
    return atoms


def graph_of(atoms):
    structure = Structure(
        species=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )
    return brute_force_graph(structure, CONFIG.species, CONFIG.cutoff)


def test_agrees_with_ase(x64, atoms):
    result = jax.jit(evaluate, static_argnums=0)(apply, PARAMS, graph_of(atoms))
    n = len(atoms)
    assert atoms.get_potential_energy() != pytest.approx(0.0, abs=0.1)
    assert result.energy[0] == pytest.approx(atoms.get_potential_energy(), rel=RTOL)
    np.testing.assert_allclose(result.output.energy[:n], atoms.get_potential_energies(), rtol=RTOL)
    np.testing.assert_allclose(result.forces[:n], atoms.get_forces(), atol=RTOL)
    assert not np.any(result.forces[n:])
    if atoms.pbc.all():
        stress = atoms.get_stress(voigt=False)
        np.testing.assert_allclose(result.stress[0], stress, atol=RTOL)
        virial = stress * atoms.get_volume()
        np.testing.assert_allclose(result.virial[0], virial, atol=1e-8)
    else:
        assert not np.any(result.stress[0])


def test_atomic_virials_are_those_of_ase(x64, atoms):
    graph = graph_of(atoms)
    virials = jax.jit(atomic_virials, static_argnums=0)(apply, PARAMS, graph)
    if atoms.pbc.all():
        expected = atoms.get_stresses(voigt=False) * atoms.get_volume()
        np.testing.assert_allclose(virials[: len(atoms)], expected, atol=1e-8)
    total = jax.jit(evaluate, static_argnums=0)(apply, PARAMS, graph).virial[0]
    np.testing.assert_allclose(virials[: len(atoms)].sum(0), total, atol=1e-10)


def test_hessian_product_is_the_difference_of_forces_of_ase(x64, atoms):
    direction = np.random.default_rng(5).normal(size=(len(atoms) + 1, 3))
    compiled = jax.jit(hessian_vector_product, static_argnums=0)
    product = compiled(apply, PARAMS, graph_of(atoms), direction)
    step, start = 1e-4, atoms.positions.copy()
    atoms.positions = start + step * direction[:-1]
    forward = atoms.get_forces()
    atoms.positions = start - step * direction[:-1]
    expected = -(forward - atoms.get_forces()) / (2.0 * step)
    np.testing.assert_allclose(product[:-1], expected, rtol=1e-5, atol=1e-5)
    assert not np.any(product[-1])


def test_parameter_gradient_of_forces_is_their_difference(x64):
    atoms = ase.build.bulk("Ne", "fcc", a=3.6)
    atoms.rattle(0.2, seed=1)
    atoms *= (2, 1, 1)
    graph = graph_of(atoms)

    @jax.jit
    def loss(params):
        result = evaluate(apply, params, graph)
        return jnp.sum(result.forces**2) + 0.1 * jnp.sum(result.stress**2) + result.energy[0]

    gradient = jax.grad(loss)(PARAMS)
    for name in ("sigma", "epsilon"):
        step = 1e-6
        above, below = ({**PARAMS, name: PARAMS[name] + sign * step} for sign in (1, -1))
        expected = (loss(above) - loss(below)) / (2.0 * step)
        np.testing.assert_allclose(np.sum(gradient[name]), expected, rtol=1e-6)


def test_energies_alone_are_the_same(x64, atoms):
    graph = graph_of(atoms)
    expected = jax.jit(evaluate, static_argnums=0)(apply, PARAMS, graph).energy
    found = jax.jit(energies, static_argnums=0)(apply, PARAMS, graph)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
