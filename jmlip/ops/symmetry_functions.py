"""ANI's radial and angular symmetry functions on dense neighbor slots.

For atom i, with neighbors j, k of the elements s and the pair of elements {s, t},

    G^R_s,m(i)    = 1/4 sum_{j in s} exp[-eta_R (r_ij - R_m)^2] fc(r_ij)
    G^A_st,an(i)  = sum_{j < k in {s, t}} 2 [(1 + cos(theta_jik - Z_n)) / 2]^zeta
                    exp[-eta_A ((r_ij + r_ik) / 2 - R_a)^2] fc(r_ij) fc(r_ik)

with cos(theta) scaled by 0.95, so that sin(theta) has a derivative on straight lines.

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
    Neighbors within the cutoff come first in that order: turns without any of their pairs are left
    out, which are most where the radial functions reach much further.

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
    order = jnp.argsort(envelope == 0.0, axis=1)  # stable
    sort = lambda x: jnp.take_along_axis(x, order.reshape(n_atoms, k, *[1] * (x.ndim - 2)), axis=1)
    r, unit, envelope, element = map(sort, (r, unit, envelope, element))
    n_pairs = n_species * (n_species + 1) // 2
    kind_of = jnp.asarray(_pair_index(n_species))
    centers = jnp.asarray(shifts, r.dtype)
    cosines, sines = (jnp.asarray(f(angles), r.dtype)[None, None] for f in (np.cos, np.sin))
    # a few products instead of a logarithm and an exponential
    power = lambda x: jax.lax.integer_pow(x, int(zeta)) if zeta == int(zeta) else x**zeta

    @jax.checkpoint
    def pairs(step: Array) -> Array:
        other = (jnp.arange(k) + step) % k
        at = lambda x: jnp.take(x, other, axis=1)
        cosine = _SCALE * jnp.sum(unit * at(unit), axis=-1)
        sine = jnp.sqrt(1.0 - cosine**2)
        toward = cosine[..., None] * cosines + sine[..., None] * sines
        angular = power((1.0 + toward) / 2.0)
        mean = 0.5 * (r + at(r))
        radial = jnp.exp(-eta * (mean[..., None] - centers[None, None]) ** 2)
        # half a turn meets every pair twice
        weight = 2.0 * envelope * at(envelope) * jnp.where(2 * step == k, 0.5, 1.0)
        kind = jax.nn.one_hot(kind_of[element, at(element)], n_pairs, dtype=r.dtype)
        return jnp.einsum("ak,akp,akm,akn->apmn", weight, kind, radial, angular)

    zero = jnp.zeros((n_atoms, n_pairs, len(shifts), len(angles)), r.dtype)
    furthest = jnp.max(jnp.sum(envelope > 0.0, axis=1), initial=0)

    def turn(total: Array, step: Array) -> tuple[Array, None]:
        # between the first and the last neighbor: so many slots at most, one way or the other
        reached = jnp.minimum(step, k - step) < furthest
        return total + jax.lax.cond(reached, pairs, lambda _: zero, step), None

    total, _ = jax.lax.scan(turn, zero, jnp.arange(1, k // 2 + 1))
    return total.reshape(n_atoms, -1)


def _pair_index(n_species: int) -> Int[np.ndarray, "species species"]:
    """Place of the pair {s, t} among all with s <= t, row by row."""
    index = np.zeros((n_species, n_species), np.int32)
    rows, columns = np.triu_indices(n_species)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    return index
