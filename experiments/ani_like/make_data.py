"""Make the data: organic molecules, their conformers and vibrations, labelled by two engines.

    python -m experiments.ani_like.make_data xtb        conformers, frames, GFN2-xTB
    python -m experiments.ani_like.make_data cc         CCSD(T) energies of some of them

Conformers are embedded by RDKit and relaxed with GFN2-xTB (tblite). From each come frames displaced
along its normal modes, as a classical harmonic crystal would be at a temperature drawn anew, and
frames of Langevin dynamics. What was labelled already is not labelled again.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

import jmlip
from experiments.ani_like.conformers import relaxed_conformers
from experiments.ani_like.sampling import Sampling, label, langevin_frames, thermal_displacements
from experiments.study import one_of
from jmlip.core.structure import Structure
from jmlip.data.writing import write

HERE = Path(__file__).parent
MOLECULES = tomllib.loads((HERE / "molecules.toml").read_text())
TRAIN = Sampling(n_conformers=4, n_displaced=36, n_langevin=16, temperature_K=(300.0, 1000.0))
TEST = Sampling(n_conformers=8, n_displaced=24, n_langevin=0, temperature_K=(300.0, 300.0))
N_COUPLED = 10  # frames of each molecule labelled by coupled cluster


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engine", type=one_of(("xtb", "cc")), help="xtb, then cc")
    parser.add_argument("--runs", type=Path, default=Path("runs") / HERE.name)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    parts = options.runs / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    (_xtb if options.engine == "xtb" else _coupled_cluster)(options.runs, parts, options.workers)


def _xtb(runs: Path, parts: Path, workers: int) -> None:
    groups = {
        (group, smiles): (parts / f"{group}-{k}.xyz", sampling)
        for group, sampling in (("train", TRAIN), ("test", TEST))
        for k, smiles in enumerate(MOLECULES[group])
    }
    jobs = [(smiles, k, *place) for k, ((_, smiles), place) in enumerate(groups.items())]
    _in_parallel(sample, [job for job in jobs if not job[2].exists()], workers)
    for group in ("train", "test"):
        paths = [path for (name, _), (path, _) in groups.items() if name == group]
        frames = [frame for path in paths for frame in jmlip.read(path)]
        write(runs / f"{group}.xyz", frames)
        print(f"{group}: {len(paths)} molecules, {len(frames)} frames")


def _coupled_cluster(runs: Path, parts: Path, workers: int) -> None:
    frames = jmlip.read(runs / "train.xyz")
    of = lambda smiles: [frame for frame in frames if frame.info["molecule"] == smiles]
    rng = np.random.default_rng(0)
    chosen = {"cc_train": [], "cc_test": []}
    for smiles in MOLECULES["coupled_cluster_train"]:
        some = of(smiles)
        places = rng.choice(len(some), min(N_COUPLED, len(some)), replace=False)
        chosen["cc_train"] += [some[k] for k in sorted(places)]
    for smiles in MOLECULES["coupled_cluster_test"]:
        chosen["cc_test"] += [frame for frame in of(smiles) if frame.info["kind"] == "relaxed"]
    for name, structures in chosen.items():
        places = [parts / f"{name}-{k}.xyz" for k in range(len(structures))]
        jobs = [job for job in zip(structures, places, strict=True) if not job[1].exists()]
        _in_parallel(couple, jobs, workers)
        write(runs / f"{name}.xyz", [jmlip.read(path)[0] for path in places])
        print(f"{name}: {len(places)} frames")


def _in_parallel(work: Callable, jobs: Sequence[tuple], workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_one_thread
    ) as pool:
        done = (job.result() for job in [pool.submit(work, *job) for job in jobs])
        for k, text in enumerate(done, 1):
            print(f"{k}/{len(jobs)} {text}", flush=True)


def sample(smiles: str, seed: int, path: Path, sampling: Sampling) -> str:
    """All frames of a molecule, to a file."""
    conformers = relaxed_conformers(smiles, sampling.n_conformers, seed)
    frames = list(_frames(conformers, sampling, np.random.default_rng(seed)))
    for frame in frames:
        frame.info["molecule"] = smiles
    write(path, frames)
    return f"{smiles}: {len(conformers)} conformers, {len(frames)} frames"


def _frames(
    conformers: Sequence[Structure], sampling: Sampling, rng: np.random.Generator
) -> Iterator[Structure]:
    for k, conformer in enumerate(conformers):
        yield conformer
        share = lambda n, k=k: len(range(k, n, len(conformers)))
        yield from thermal_displacements(conformer, share(sampling.n_displaced), sampling, rng)
        yield from langevin_frames(conformer, share(sampling.n_langevin), sampling, rng)


def couple(structure: Structure, path: Path) -> str:
    """CCSD(T)/cc-pVDZ with frozen cores, the energy alone, to a file."""
    write(path, [label(structure, "CCSD(T)")])
    return structure.info["molecule"]


def _one_thread() -> None:
    # such small molecules are too few to share between threads; read when an engine loads
    os.environ["OMP_NUM_THREADS"] = "1"


if __name__ == "__main__":
    main()
