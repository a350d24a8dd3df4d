"""Hydrogen molecules on a parabola, and the configuration that fits a small potential to them."""

import numpy as np

from jmlip.core.structure import Structure

BOND, STIFFNESS, ATOM = 0.8, 30.0, -13.0
"""E = 2 ATOM + STIFFNESS (r - BOND)^2 / 2, in eV and angstrom."""

CONFIG = """\
[data]
train = "hydrogen.xyz"
validation_fraction = 0.2
test = "held-out.xyz"

[model]
cutoff = 3.0
n_features = 8
n_sensitivities = 6
n_interactions = 1
n_onsite = 1
max_rank = 1

[loss]
energy = {weight = 1.0}
forces = {weight = 1.0}

[optimizer]
name = "adam"
learning_rate = 2e-2
schedule = "cosine"

[training]
batch_size = 8
max_epochs = 60
ema_decay = 0.9
"""


def molecule(r: float, rng) -> Structure:
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    force = -STIFFNESS * (r - BOND) * axis
    return Structure(
        species=[1, 1],
        positions=[-0.5 * r * axis, 0.5 * r * axis],
        energy=2.0 * ATOM + 0.5 * STIFFNESS * (r - BOND) ** 2,
        forces=[-force, force],
    )


def hydrogen(n: int, seed: int) -> list[Structure]:
    rng = np.random.default_rng(seed)
    return [molecule(r, rng) for r in rng.permutation(np.linspace(0.65, 1.0, n))]
