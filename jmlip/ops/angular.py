"""ANI's angular symmetry functions on dense neighbor slots.

For atom i, with neighbors j, k of the pair of elements {s, t} and c = 0.95 cos(theta_jik),

    G_st,mn(i) = sum_{j < k in {s, t}} 2 e_j e_k exp[-eta ((r_ij + r_ik) / 2 - R_m)^2]
                     [(1 + c cos Z_n + sqrt(1 - c^2) sin Z_n) / 2]^zeta,

e being the cutoff function of a neighbor, and c scaled so that the root has a derivative on
straight lines. The form F = sum g G gives G as dF/dg and what forces and losses on forces need as
its other derivatives, see `jmlip.ops.forms`: by a kernel in C++ on CPU, or in plain JAX.

References: Smith, Isayev, Roitberg, Chem. Sci. 8, 3192 (2017), eq. 4; normalized as in torchani
(Gao et al., J. Chem. Inf. Model. 60, 3408 (2020)).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jmlip.ops import safe
from jmlip.ops.forms import BackendName, Form, Names, Operands, kernel

NAMES = ("g", "v", "e")
_SCALE = 0.95


@dataclasses.dataclass(frozen=True)
class Functions:
    """What the angular functions look at.

    Args:
        n_species: number of elements.
        eta: 1 / angstrom^2.
        zeta: exponent of the angular part, 1 at least.
        shifts: R_m, angstrom.
        angles: Z_n, radian.
    """

    n_species: int
    eta: float
    zeta: float
    shifts: tuple[float, ...]
    angles: tuple[float, ...]

    @property
    def width(self) -> int:
        """Number of functions of an atom."""
        pairs = self.n_species * (self.n_species + 1) // 2
        return pairs * len(self.shifts) * len(self.angles)


def angular_functions(
    vector: Float[Array, "atoms k 3"],
    envelope: Float[Array, "atoms k"],
    element: Int[Array, "atoms k"],
    functions: Functions,
    *,
    backend: BackendName = "auto",
) -> Float[Array, "atoms pairs_x_shifts_x_angles"]:
    """G of every atom, ordered by pair of elements (s <= t), then shift, then angle.

    Args:
        vector: to the neighbors, angstrom.
        envelope: cutoff function of each neighbor. Where it is 0 no neighbor is, neither for values
            nor for derivatives.
        element: index of each neighbor's element.
        functions: the parameters.
        backend: see `jmlip.ops.contraction`.

    Raises:
        ValueError: the native backend is asked for and not there.
    """
    ANGULAR.check(backend)
    operands = {"v": vector, "e": envelope}
    (found,) = ANGULAR.derivatives(
        ("g",), operands, {}, (element,), table=functions, backend=backend
    )
    return found


def _shapes(operands: Operands, indices: list, table: Functions) -> dict[str, tuple[int, ...]]:
    n_atoms, k = indices[0].shape
    return {"g": (n_atoms, table.width), "v": (n_atoms, k, 3), "e": (n_atoms, k)}


def _value(v: Array, e: Array, element: Array, table: Functions) -> Array:
    """G, by turns: all pairs of slots at the same distance in the circle of slots at once.

    So no array holds all pairs; derivatives compute each turn again instead of keeping it.
    Neighbors come first in the order of slots: turns without any of their pairs are left out, which
    are most where the radial functions reach much further.
    """
    n_atoms, k = e.shape
    order = jnp.argsort(e == 0.0, axis=1)  # stable
    sort = lambda x: jnp.take_along_axis(x, order.reshape(n_atoms, k, *[1] * (x.ndim - 2)), axis=1)
    v, e, element = sort(v), sort(jnp.where(e == 0.0, 0.0, e)), sort(element)
    r = safe.norm(v)
    unit = safe.divide(v, r[..., None])
    n_species, eta, zeta = table.n_species, table.eta, table.zeta
    n_pairs = n_species * (n_species + 1) // 2
    kind_of = jnp.asarray(_pair_index(n_species))
    centers = jnp.asarray(table.shifts, r.dtype)
    cosines, sines = (jnp.asarray(f(table.angles), r.dtype)[None, None] for f in (np.cos, np.sin))
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
        weight = 2.0 * e * at(e) * jnp.where(2 * step == k, 0.5, 1.0)
        kind = jax.nn.one_hot(kind_of[element, at(element)], n_pairs, dtype=r.dtype)
        return jnp.einsum("ak,akp,akm,akn->apmn", weight, kind, radial, angular)

    zero = jnp.zeros((n_atoms, n_pairs, len(table.shifts), len(table.angles)), r.dtype)
    furthest = jnp.max(jnp.sum(e != 0.0, axis=1), initial=0)

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


def _plain(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Functions
) -> list[Array]:
    geometry = tuple(name for name in outs if name != "g")

    def derivatives(point: Operands) -> Operands:
        point = operands | point
        at = lambda moved: _value(**({"v": point["v"], "e": point["e"]} | moved), **fixed)
        if not geometry:
            return {"g": at({})}
        value, pull = jax.vjp(at, {name: point[name] for name in geometry})
        return {"g": value, **pull(point["g"])[0]}

    fixed = {"element": indices[0], "table": table}
    found = derivatives({})
    if along:
        here = {name: operands.get(name, along[name]) for name in along}
        found = jax.jvp(derivatives, (here,), (along,))[1]
    return [found[name] for name in outs]


def _native(
    outs: Names, operands: Operands, along: Operands, indices: list, table: Functions
) -> list[Array]:
    along = {name: value for name, value in along.items() if outs != ("g",) or name != "g"}
    # second derivatives by geometry alone are for JAX: neither forces nor losses on them need any
    if table.zeta != int(table.zeta) or (along and outs != ("g",)):
        return _plain(outs, operands, along, indices, table)
    shapes = _shapes(operands, indices, table)
    sizes = (*shapes["e"], table.n_species, len(table.shifts), len(table.angles), int(table.zeta))
    numbers = (table.eta, *table.shifts, *np.cos(table.angles), *np.sin(table.angles))
    found = kernel(
        "jmlip_angular",
        shapes,
        outs,
        operands,
        along,
        indices,
        sizes=np.asarray(sizes, np.int64),
        numbers=np.asarray(numbers, np.float64),
    )
    return [found[name] for name in outs]


def _fold(
    operands: Operands, indices: list, shapes: dict, size: int, table: Functions
) -> tuple[Operands, list, Functions]:
    del shapes, size
    merge = lambda value: value.reshape(-1, *value.shape[2:])
    return {name: merge(value) for name, value in operands.items()}, [merge(indices[0])], table


ANGULAR = Form(
    name="jmlip_angular",
    operands=NAMES,
    linear=("g",),
    shapes=_shapes,
    plain=_plain,
    native=_native,
    fold=_fold,
)
