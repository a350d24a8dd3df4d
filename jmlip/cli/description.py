"""What is said of a training before it begins."""

from collections.abc import Mapping, Sequence
from typing import Any

from jmlip.cli.config import RunConfig
from jmlip.cli.sets import Sets
from jmlip.core.structure import Structure
from jmlip.graphs.frames import named_head
from jmlip.potentials.potential import Potential


def describe(config: RunConfig, sets: Sets, potential: Potential) -> str:
    """What is about to be trained, in two lines."""
    note = _undetermined(potential.statistics, config.data.reference)
    note += _told_apart(potential) + _heads_told_apart(sets.train, potential)
    tests = "".join(f", {len(s)} in {name}" for name, s in sets.tests.items())
    return (
        f"data: {len(sets.train)} structures to train on, {len(sets.validation)} to validate"
        f"{tests}\nmodel: {config.kind}, {potential.n_parameters} parameters, cutoff "
        f"{potential.cutoff} angstrom{note}"
    )


def _undetermined(statistics: Mapping[str, Any], reference: str) -> str:
    """A warning where least squares cannot tell the elements' energies apart."""
    species, n = len(statistics["species"]), statistics["n_compositions"]
    if reference != "least-squares" or n >= species:
        return ""
    return (
        f"\nnote: {n} composition{'s' if n > 1 else ''} of {species} elements determine no energy "
        "of a single element; energies of other compositions, and of fragments, mean nothing. For "
        'those, give isolated atoms: data.reference = "isolated-atoms".'
    )


def _told_apart(potential: Potential) -> str:
    """A warning where the data have several states and the model takes them for one."""
    states = [list(state) for state in potential.statistics["states"]]
    if len(states) < 2 or potential.states:
        return ""
    return (
        f"\nnote: the data have the total charges and spin multiplicities {states}, which the "
        f"model does not tell apart; models of the multi-ACE family do: model.states = {states}."
    )


def _heads_told_apart(train: Sequence[Structure], potential: Potential) -> str:
    """A warning where the data are of several heads and the model takes them for one."""
    found = {named_head(structure) for structure in train} if not potential.heads else set()
    if len(found) < 2:
        return ""
    names = sorted(name for name in found if name is not None)
    rest = " beside structures without one" if None in found else ""
    return (
        f"\nnote: the data name the heads {', '.join(names)}{rest}, which the model does not tell "
        f"apart; for levels of theory of their own, set model.heads = {names}."
    )
