"""What dynamics with the student costs against its teacher: time and memory at equal atoms.

    python -m experiments.teacher_student.cost ethanol 72 576
    python -m experiments.teacher_student.cost aluminium 256 2048
    python -m experiments.teacher_student.cost copper 256 2048

Molecules on a periodic lattice, or a crystal. Time: dynamics at constant energy, 0.5 fs, the median
of three runs of each in turn. Memory: what the compiled energy and forces need beside arguments and
results (`memory_analysis().temp_size_in_bytes`).
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

import jmlip
from experiments.two_time_steps import Case, Course, speeds
from jmlip.core.structure import Structure
from jmlip.data import from_atoms
from jmlip.graphs.batching import exact_bucket, pad_batch
from jmlip.graphs.frames import make_frame
from jmlip.potentials.evaluate import evaluate

HERE = Path(__file__).parent
CRYSTALS = {"aluminium": ("Al", 4.05), "copper": ("Cu", 3.61)}  # angstrom, face-centred cubic
SPACING = 5.5  # angstrom, between molecules
COURSE = Course(
    temperature_K=300.0,
    timestep_fs=0.5,
    nvt_ps=0,
    nve_ps=0,
    equilibration_ps=0,
    every_fs=0,
    n_speed=60,
)
COLUMNS = ("atoms", "teacher, µs", "student, µs", "ratio", "teacher, MB", "student, MB", "ratio")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=["ethanol", *CRYSTALS])
    parser.add_argument("sizes", type=int, nargs="+", help="least numbers of atoms")
    options = parser.parse_args()
    names = [f"{options.case}_{name}" for name in ("teacher", "student_distilled")]
    paths = [HERE / "potentials" / name for name in names]
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for structure in (built(options.case, n) for n in options.sizes):
        cases = [Case(path.name, path) for path in paths]
        times = list(speeds(cases, structure, COURSE).values())
        memory = [megabytes(path, structure) for path in paths]
        cells = [structure.n_atoms]
        for pair, digits in ((times, 1), (memory, 1)):
            cells += [*(f"{value:.{digits}f}" for value in pair), f"{pair[0] / pair[1]:.1f}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def built(case: str, n_least: int) -> Structure:
    """Ethanol on a cubic lattice, or a perfect crystal, which the first step sets in motion."""
    if case in CRYSTALS:
        element, constant = CRYSTALS[case]
        n = int(np.ceil(np.cbrt(n_least / 4) - 1e-9))
        return from_atoms(bulk(element, "fcc", a=constant, cubic=True).repeat(n))
    one = molecule("CH3CH2OH")
    one.center()
    n = int(np.ceil(np.cbrt(n_least / len(one)) - 1e-9))
    return from_atoms(Atoms(one, cell=SPACING * np.eye(3), pbc=True).repeat(n))


def megabytes(path: Path, structure: Structure) -> float:
    """Of temporary arrays in one evaluation of energy and forces, float32."""
    potential = jmlip.load_potential(path)
    frame = make_frame(
        structure,
        species=potential.species,
        cutoff=potential.cutoff,
        reference_energies=potential.reference_energies,
        dtype=np.float32,
    )
    batch = pad_batch([frame], exact_bucket([frame]), cutoff=potential.cutoff, dtype=np.float32)
    call = jax.jit(lambda params, graph: evaluate(potential.apply, params, graph)[:2])
    params = jax.tree.map(jax.numpy.asarray, potential.params)
    program = call.lower(params, jax.device_put(batch.graph)).compile()
    return program.memory_analysis().temp_size_in_bytes / 1e6


if __name__ == "__main__":
    main()
