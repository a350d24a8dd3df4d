"""Distill ensembles that saw energies of small molecules, and score them on larger ones.

    python -m experiments.ani_like.run chain --seeds 0 1 2 3
    python -m experiments.ani_like.run coupled_cluster --seeds 0 1 2 3
    python -m experiments.ani_like.run --table

The data are those of make_data. Relative energies are those of all pairs of frames of one molecule
(the definition of COMP6), and of pairs of its relaxed conformers.
"""

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import jmlip
from experiments.ensemble_distillation.run import FURTHER
from experiments.study import Row, arguments, command, one_of, paired, record, table
from jmlip.core.structure import Structure
from jmlip.potentials.potential import Potential

HERE = Path(__file__).parent
CHAINS = ("chain", "coupled_cluster")
COLUMNS = {"frames": 2, "conformers": 2, "forces": 1}
PARTS = ("zero", "start", "teacher", "mean", "student")  # zero: no difference, no force


def main() -> None:
    parser = arguments(__doc__ or "", HERE)
    parser.add_argument("chains", nargs="*", type=one_of(CHAINS), help=", then ".join(CHAINS))
    options = parser.parse_args()
    data = options.data.resolve()
    for name, seed in itertools.product(options.chains, options.seeds):
        run = options.runs / f"{name}-seed{seed}"
        sets = {"data.split_seed": FURTHER * seed, "training.seed": FURTHER * seed}
        # the few energies by coupled cluster are kept here
        train, test = (HERE / f"cc_{part}.xyz" for part in ("train", "test"))
        if name == "chain":
            train, test = data / "train.xyz", data / "test.xyz"
        sets["data.train"] = train
        if name == "coupled_cluster":
            start = options.runs / f"chain-seed{seed}" / "student" / "potential"
            sets["model.potential"] = start.resolve()
        command("distill", HERE / f"{name}.toml", run, sets)
        frames = jmlip.read(test)
        _score(name, seed, run, frames)
        if name == "coupled_cluster":
            _score_start(seed, sets["model.potential"], frames)
        if seed == 0:
            kept = HERE / "potentials" / name
            shutil.copytree(run / "student" / "potential", kept, dirs_exist_ok=True)
    if options.table:
        for name in CHAINS:
            print(table(HERE, [f"{name} {part}" for part in PARTS], COLUMNS))
            columns = [c for c in COLUMNS if name == "chain" or c != "forces"]
            print(paired(HERE, f"{name} student", f"{name} teacher", columns), end="\n\n")


def _score(name: str, seed: int, run: Path, frames: Sequence[Structure]) -> None:
    """Rows of the teachers, of their mean, of the student, and of nothing at all."""
    places = sorted((run / "teachers").glob("member_*/potential"))
    teachers = [jmlip.load_potential(place) for place in places]
    student = jmlip.load_potential(run / "student" / "potential")
    energies, forces = zip(*(_predicted(one, frames) for one in teachers), strict=True)
    errors = [_errors(frames, *one) for one in zip(energies, forces, strict=True)]
    mean = _errors(frames, np.mean(energies, axis=0), np.mean(forces, axis=0))
    own = {key: float(np.mean([one[key] for one in errors])) for key in errors[0]}
    minutes = [_minutes(place.parent) for place in places]
    nothing = np.zeros_like(energies[0]), np.zeros_like(forces[0])
    rows = {
        "zero": {"minutes": 0.0, **_errors(frames, *nothing)},
        "teacher": {"minutes": float(np.mean(minutes)), **own},
        "mean": {"minutes": sum(minutes), **mean},
        "student": {
            "minutes": _minutes(run / "student"),
            **_errors(frames, *_predicted(student, frames)),
        },
    }
    head = {"seed": seed, "parameters": student.n_parameters}
    for part, row in rows.items():
        record(HERE, {"name": f"{name} {part}", **head, **row})


def _score_start(seed: int, place: Path, frames: Sequence[Structure]) -> None:
    """The row of the potential that the chain began with."""
    start = jmlip.load_potential(place)
    row = {"seed": seed, "parameters": start.n_parameters, "minutes": 0.0}
    found = _errors(frames, *_predicted(start, frames))
    record(HERE, {"name": "coupled_cluster start", **row, **found})


def _minutes(run: Path) -> float:
    return json.loads((run / "summary.json").read_text())["minutes"]


def _predicted(potential: Potential, frames: Sequence[Structure]) -> tuple[np.ndarray, np.ndarray]:
    """Energies, and all components of forces in one row."""
    found = potential.predict(frames)
    forces = np.concatenate([one.forces.ravel() for one in found])
    return np.array([one.energy for one in found]), forces


def _errors(frames: Sequence[Structure], energy: np.ndarray, forces: np.ndarray) -> Row:
    """MAE of relative energies of frames and of conformers, kcal/mol; of forces, meV/angstrom."""
    difference = energy - np.array([frame.energy for frame in frames])
    relaxed = np.array([frame.info["kind"] == "relaxed" for frame in frames])
    molecule = np.array([frame.info["molecule"] for frame in frames])
    kcal = 23.060548
    found = {
        "frames": kcal * _of_pairs(difference, molecule),
        "conformers": kcal * _of_pairs(difference[relaxed], molecule[relaxed]),
    }
    if all(frame.forces is not None for frame in frames):
        true = np.concatenate([frame.forces.ravel() for frame in frames])
        found["forces"] = 1000.0 * float(np.abs(forces - true).mean())
    return found


def _of_pairs(difference: np.ndarray, molecule: np.ndarray) -> float:
    """Mean over all pairs within each molecule of the error of E_a - E_b."""
    pairs = []
    for name in np.unique(molecule):
        own = difference[molecule == name]
        a, b = np.triu_indices(len(own), 1)
        pairs.append(np.abs(own[a] - own[b]))
    return float(np.concatenate(pairs).mean())


if __name__ == "__main__":
    main()
