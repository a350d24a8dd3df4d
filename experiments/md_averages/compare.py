"""Averages, standard errors and z-scores from means of blocks, the same for both programs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jmlip.analysis.estimates import Estimate, jackknife
from jmlip.core import units

HERE = Path(__file__).parent
N_BLOCKS = 25
REFERENCES = {"npt": ("npt",), "nvt": ("nvt", "langevin")}
"""Runs of LAMMPS that are taken together."""
Blocks = dict[str, Any]


class Comparison(NamedTuple):
    """One average in both programs."""

    run: str
    quantity: str
    found: Estimate
    expected: Estimate

    @property
    def sigma(self) -> float:
        """Standard error of the difference."""
        return float(np.hypot(self.found.error, self.expected.error))

    @property
    def z(self) -> float:
        """The difference in units of its standard error."""
        return (self.found.value - self.expected.value) / self.sigma


def block_means(
    temperature_K: np.ndarray, pressure_GPa: np.ndarray, density: np.ndarray, energy: np.ndarray
) -> Blocks:
    """Means of successive blocks of series, and of what their fluctuations follow from."""
    center = float(energy.mean())
    columns = {
        "temperature_K": temperature_K,
        "temperature_K^2": temperature_K**2,
        "pressure_GPa": pressure_GPa,
        "density_1/A^3": density,
        "energy_eV": energy,
        "energy_eV_off_center^2": (energy - center) ** 2,
    }
    parts = {key: np.array_split(values, N_BLOCKS) for key, values in columns.items()}
    means = {key: [float(part.mean()) for part in each] for key, each in parts.items()}
    return {**means, "center_eV": center}


def estimate(blocks: np.ndarray, function: Callable[[np.ndarray], float]) -> Estimate:
    """A function of the mean of blocks; its error is the largest of blocks joined by 1, 2, 3, 5.

    Blocks shorter than a system remembers have too small an error: modes of a crystal at a global
    thermostat live for picoseconds (Flyvbjerg, Petersen, J. Chem. Phys. 91, 461 (1989)).
    """
    joined = lambda k: blocks[: len(blocks) // k * k].reshape(-1, k, blocks.shape[1]).mean(axis=1)
    errors = [jackknife(joined(k), function).error for k in (1, 2, 3, 5)]
    return Estimate(function(blocks.mean(axis=0)), max(errors))


def averages(runs: list[Blocks], *, n_atoms: int, temperature_K: float) -> dict[str, Estimate]:
    """What is compared, of runs of the same ensemble."""
    of = lambda key: np.concatenate([run[key] for run in runs])
    mean = lambda key: estimate(of(key)[:, None], lambda m: float(m[0]))
    temperature = np.stack([of("temperature_K"), of("temperature_K^2")], axis=-1)
    center = np.mean([run["center_eV"] for run in runs])
    # about one center for all runs: <(E - c)^2> = <(E - c_k)^2> + 2 (c_k - c) <E> - c_k^2 + c^2
    squares = np.concatenate(
        [
            np.array(r["energy_eV_off_center^2"])
            + (r["center_eV"] - center) * (2.0 * np.array(r["energy_eV"]) - r["center_eV"] - center)
            for r in runs
        ]
    )
    energy = np.stack([of("energy_eV") - center, squares], axis=-1)
    unit = units.KELVIN * temperature_K**2 * units.KELVIN
    found = {
        "T, K": mean("temperature_K"),
        "std T, K": estimate(temperature, lambda m: float(np.sqrt(m[1] - m[0] ** 2))),
        "P, GPa": mean("pressure_GPa"),
        "E, eV/atom": mean("energy_eV"),
    }
    if np.ptp(of("density_1/A^3")) < 1e-6:
        heat = estimate(energy, lambda m: float(n_atoms * (m[1] - m[0] ** 2) / unit))
        return {**found, "C_v, k/atom": heat}
    density = Estimate(*(1000.0 * x for x in mean("density_1/A^3")))
    return {**found, "density, 1/nm^3": density}


def compare() -> list[Comparison]:
    """Every average of every run of `results.json` against LAMMPS."""
    read = lambda name: json.loads((HERE / name).read_text())
    systems, lammps, found = read("systems.json"), read("lammps.json"), []
    for run, row in read("results.json").items():
        name, ensemble = run.split(" ", 1)
        references = REFERENCES["npt" if ensemble.startswith("npt") else "nvt"]
        system = {
            "n_atoms": systems[name]["atoms"],
            "temperature_K": systems[name]["temperature_K"],
        }
        ours = averages([row], **system)
        theirs = averages([lammps[f"{name} {each}"] for each in references], **system)
        found += [Comparison(run, key, ours[key], theirs[key]) for key in theirs]
    return found


def tables(comparisons: list[Comparison]) -> str:
    """Markdown: what was found, what LAMMPS found, and how far apart they are."""
    lines = ["| run | average | jmlip | LAMMPS | error | z |", "|---|---|---|---|---|---|"]
    for each in comparisons:
        share = 100.0 * each.sigma / abs(each.expected.value)
        lines.append(
            f"| {each.run} | {each.quantity} | {each.found} | {each.expected} "
            f"| {share:.2f} % | {each.z:+.1f} |"
        )
    return "\n".join(lines)
