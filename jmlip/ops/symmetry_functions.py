"""ANI's radial and angular symmetry functions on dense neighbor slots.

For atom i, with neighbors j, k of the elements s and the pair of elements {s, t},

    G^R_s,m(i)    = 1/4 sum_{j in s} exp[-eta_R (r_ij - R_m)^2] fc(r_ij)
    G^A_st,an(i)  = sum_{j < k in {s, t}} 2 [(1 + cos(theta_jik - Z_n)) / 2]^zeta
                    exp[-eta_A ((r_ij + r_ik) / 2 - R_a)^2] fc(r_ij) fc(r_ik)

with cos(theta) scaled by 0.95, so that arccos has a derivative on straight lines.

References: Smith, Isayev, Roitberg, Chem. Sci. 8, 3192 (2017), eqs. 3 and 4; normalized as in
torchani (Gao et al., J. Chem. Inf. Model. 60, 3408 (2020)).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

_SCALE = 0.95


def radial_functions(
    r: Float[Array, "atoms k"],
    weight: Float[Array, "atoms k species"],
    *,
    eta: float,
    shifts: tuple[float, ...],
) -> Float[Array, "atoms species_x_shifts"]:
    """G^R of every atom, ordered by element, then shift.

    Args:
        r: distances, angstrom.
        weight: one-hot element of each neighbor times its cutoff function; 0 in padding.
        eta: 1 / angstrom^2.
        shifts: R_m, angstrom.
    """
    gaussian = jnp.exp(-eta * (r[..., None] - jnp.asarray(shifts, r.dtype)[None, None]) ** 2)
    return 0.25 * jnp.einsum("aks,akm->asm", weight, gaussian).reshape(len(r), -1)


def angular_functions(
    r: Float[Array, "atoms k"],
    unit: Float[Array, "atoms k 3"],
    envelope: Float[Array, "atoms k"],
    element: Int[Array, "atoms k"],
    *,
    n_species: int,
    eta: float,
    zeta: float,
    shifts: tuple[float, ...],
    angles: tuple[float, ...],
) -> Float[Array, "atoms pairs_x_shifts_x_angles"]:
    """G^A of every atom, ordered by pair of elements (s <= t), then shift, then angle.

    All pairs of slots at the same distance d in the (circular) order of slots are taken at once, so
    that no array holds all pairs; derivatives compute each turn again instead of keeping it.

    Args:
        r: distances, angstrom.
        unit: directions to the neighbors.
        envelope: cutoff function of each neighbor; 0 in padding.
        element: index of each neighbor's element.
        n_species: number of elements.
        eta: 1 / angstrom^2.
        zeta: exponent of the angular part.
        shifts: R_a, angstrom.
        angles: Z_n, radian.
    """
    n_atoms, k = r.shape
    n_pairs = n_species * (n_species + 1) // 2
    kind_of = jnp.asarray(_pair_index(n_species))
    centers, directions = jnp.asarray(shifts, r.dtype), jnp.asarray(angles, r.dtype)

    @jax.checkpoint
    def turn(total: Array, step: Array) -> tuple[Array, None]:
        other = (jnp.arange(k) + step) % k
        at = lambda x: jnp.take(x, other, axis=1)
        cosine = _SCALE * jnp.sum(unit * at(unit), axis=-1)
        theta = jnp.arccos(cosine)
        angular = ((1.0 + jnp.cos(theta[..., None] - directions[None, None])) / 2.0) ** zeta
        mean = 0.5 * (r + at(r))
        radial = jnp.exp(-eta * (mean[..., None] - centers[None, None]) ** 2)
        # half a turn meets every pair twice
        weight = 2.0 * envelope * at(envelope) * jnp.where(2 * step == k, 0.5, 1.0)
        kind = jax.nn.one_hot(kind_of[element, at(element)], n_pairs, dtype=r.dtype)
        part = jnp.einsum("ak,akp,akm,akn->apmn", weight, kind, radial, angular)
        return total + part, None

    zero = jnp.zeros((n_atoms, n_pairs, len(shifts), len(angles)), r.dtype)
    total, _ = jax.lax.scan(turn, zero, jnp.arange(1, k // 2 + 1))
    return total.reshape(n_atoms, -1)


def _pair_index(n_species: int) -> Int[np.ndarray, "species species"]:
    """Place of the pair {s, t} among all with s <= t, row by row."""
    index = np.zeros((n_species, n_species), np.int32)
    rows, columns = np.triu_indices(n_species)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    return index
