"""Distances and angles for `jmlip analyse`."""

import argparse
from collections.abc import Mapping
from itertools import combinations_with_replacement

import numpy as np
from ase.data import chemical_symbols

from jmlip.analysis.angles import Triple, angular_distributions
from jmlip.analysis.estimates import Estimate
from jmlip.analysis.radial import FirstShell, first_shell, radial_distributions
from jmlip.cli.analyse_output import Result
from jmlip.core.errors import DataError
from jmlip.core.structure import Structure
from jmlip.data.trajectory import Trajectory


def radial(trajectories: Mapping[str, Trajectory], options: argparse.Namespace) -> list[Result]:
    """g(r) of pairs of elements."""
    result = Result(
        name="rdf",
        header=("pair", "distance_A", "g", "g_error", "coordination"),
        headings=("", "pair", "first peak, Å", "height", "up to, Å", "neighbors"),
        x="distance, Å",
        y="g(r)",
    )
    r_max, n_bins = options.r_max or 6.0, options.bins or 200
    for name, trajectory in trajectories.items():
        pairs = options.rdf or combinations_with_replacement(_elements(trajectory), 2)
        pairs = list(dict.fromkeys(pairs))
        frames = trajectory.structures()
        found = radial_distributions(frames, pairs, r_max=r_max, n_bins=n_bins)
        for pair, rdf in found.items():
            label = "-".join(chemical_symbols[z] for z in pair)
            result.add(name, label, rdf.distance, rdf.value, rdf.error, rdf.coordination)
            shell = first_shell(rdf)
            result.numbers.append((name, label, *_words(shell)))
    return [result]


def angular(trajectories: Mapping[str, Trajectory], options: argparse.Namespace) -> list[Result]:
    """Distributions of angles between neighbors."""
    result = Result(
        name="adf",
        header=("triple", "angle_degree", "density_per_degree", "density_error_per_degree"),
        headings=("", "angle", "mean, °", "most frequent, °", "angles per center"),
        x="angle, °",
        y="density, 1/°",
    )
    for name, trajectory in trajectories.items():
        triples = list(dict.fromkeys(options.adf or _bonded(name, trajectory)))
        frames = trajectory.structures()
        found = angular_distributions(frames, triples, n_bins=options.bins or 180)
        for triple, adf in found.items():
            label = str(triple) + (f":{triple.radius:g}" if triple.radius else "")
            result.add(name, label, adf.angle, adf.value, adf.error)
            most = Estimate(float(adf.angle[adf.value.argmax()]), float("nan"))
            many = f"{adf.angles_per_center:.4g}"
            result.numbers.append((name, label, str(adf.mean), str(most), many))
    return [result]


def _words(shell: FirstShell | None) -> tuple[str, ...]:
    if shell is None:
        return "none", "", "", ""
    return str(shell.position), str(shell.height), f"{shell.end:.2f}", str(shell.coordination)


def _bonded(name: str, trajectory: Trajectory) -> list[Triple]:
    """Every kind of angle between bonds of the first frame."""
    first = next(trajectory.structures())
    ends = list(combinations_with_replacement(_elements(trajectory), 2))
    kinds = [Triple(a, b, c) for b in _elements(trajectory) for a, c in ends]
    found = [triple for triple in kinds if _exists(triple, first)]
    if not found:
        raise DataError(
            f"the first frame of {name} must have angles between bonds, found none; name elements "
            "and a radius, as in --adf O-O-O:3.5."
        )
    return found


def _exists(triple: Triple, structure: Structure) -> bool:
    try:
        angular_distributions([structure], [triple])
    except DataError:
        return False
    return True


def _elements(trajectory: Trajectory) -> list[int]:
    return np.unique(trajectory.species).tolist()
