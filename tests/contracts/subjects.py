"""What goes through the batteries: every model, small, with parameters that are not special."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmlip.factory import make_model
from jmlip.potentials.potential import Potential, initial_potential
from tests.contracts.lennard_jones import LennardJones, LennardJonesConfig

SPECIES = (1, 6, 8)
CUTOFF = 4.5
REFERENCE_ENERGIES = (-13.6, -1036.1, -2043.2)


class Subject(NamedTuple):
    name: str
    make: Callable[[], Potential]
    in_factory: bool = True
    smooth: bool = False  # also the derivative of forces is continuous at the cutoff

    def __str__(self) -> str:
        return self.name


def _lennard_jones() -> Potential:
    model = LennardJones(LennardJonesConfig(species=SPECIES, cutoff=CUTOFF))
    return _potential("lennard-jones", model)


def _hipnn(**config) -> Callable[[], Potential]:
    sizes = {
        "n_features": 8,
        "n_sensitivities": 6,
        "n_onsite": 1,
        "r_high": 4.0,
        "energy_scale": 50.0,
    }
    values = {"species": SPECIES, "cutoff": CUTOFF, **sizes, **config}
    return lambda: _potential("hipnn", make_model("hipnn", values))


def _ani(**config) -> Callable[[], Potential]:
    sizes = {"hidden": [8, 6], "radial_shifts": 5, "angular_sections": 3, "angular_shifts": 2}
    widths = {"radial_eta": 4.0, "angular_eta": 2.0, "angular_zeta": 4.0}
    values = {"species": SPECIES, "cutoff": CUTOFF, **sizes, **widths, **config}
    return lambda: _potential("ani", make_model("ani", values))


def _multi_ace(kind: str, **config) -> Callable[[], Potential]:
    sizes = {"n_channels": 3, "n_layers": 2, "radial_hidden": [8], "mean_neighbors": 3.0}
    values = {"species": SPECIES, "cutoff": CUTOFF, **sizes, **config}
    return lambda: _potential(kind, make_model(kind, values))


def _allegro(kind: str, **config) -> Callable[[], Potential]:
    sizes = {"n_channels": 2, "n_scalars": 4, "harmonics": 1, "mean_neighbors": 3.0}
    hidden = {"embedding_hidden": [6], "latent_hidden": [5], "readout_hidden": [4]}
    values = {"species": SPECIES, "cutoff": CUTOFF, "radial": 4, **sizes, **hidden, **config}
    return lambda: _potential(kind, make_model(kind, values))


def _pair() -> Potential:
    sizes = {"kind": "hipnn", "n_features": 6, "n_sensitivities": 4, "n_onsite": 1}
    small = {**sizes, "cutoff": 3.6, "r_high": 3.0, "max_rank": 0, "n_interactions": 1}
    large = {**sizes, "cutoff": CUTOFF, "r_high": 4.0, "max_rank": 1}
    parts = {"small": small, "large": large}
    return _potential("pair", make_model("pair", {"species": SPECIES, **parts}))


def _analytic(kind: str, **config) -> Callable[[], Potential]:
    """Elements differ a little, so that mixing them up is noticed."""

    def make() -> Potential:
        potential = _potential(kind, make_model(kind, {"species": SPECIES, **config}))
        differ = lambda leaf: leaf * (1.0 + 0.1 * jnp.arange(len(SPECIES), dtype=leaf.dtype))
        return dataclasses.replace(potential, params=jax.tree.map(differ, potential.params))

    config = {"cutoff": CUTOFF, **config}
    return make


def _potential(kind: str, model) -> Potential:
    return initial_potential(
        kind, model, key=jax.random.key(7), reference_energies=REFERENCE_ENERGIES
    )


SUBJECTS = (
    Subject("lennard-jones of ase", _lennard_jones, in_factory=False),
    Subject("lennard-jones", _analytic("lennard-jones", epsilon=0.05, sigma=1.4)),
    Subject(
        "stillinger-weber",
        _analytic("stillinger-weber", epsilon=2.0, sigma=1.8, three_body=20.0),
        smooth=True,
    ),
    Subject("ani", _ani(angular_cutoff=3.6)),
    Subject("hipnn-rank0", _hipnn(max_rank=0, n_interactions=1)),
    Subject("hipnn-rank1", _hipnn(max_rank=1, cutoff_function="smooth"), smooth=True),
    Subject("hipnn-rank2", _hipnn(max_rank=2, n_interactions=2, initialization="hippynn")),
    Subject("mace", _multi_ace("mace", harmonics=2), smooth=True),
    Subject(
        "nequip",
        _multi_ace("nequip", max_degree=3, harmonics=3, energy_scale=20.0),
        smooth=True,
    ),
    Subject(
        "botnet", _multi_ace("botnet", max_degree=1, harmonics=1, radial_hidden=[]), smooth=True
    ),
    Subject(
        "linear-ace",
        _multi_ace("linear-ace", n_layers=1, harmonics=2, radial_hidden=[]),
        smooth=True,
    ),
    Subject("allegro", _allegro("allegro"), smooth=True),
    Subject("allegro-2023", _allegro("allegro-2023", n_layers=1), smooth=True),
    Subject("pair", _pair),
)
