"""`jmlip info`: what a potential, a data file or a configuration is."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jmlip.cli import options as kinds

DESCRIPTION = """\
What a potential directory, a data file or a configuration (.toml) is: kind, species, sizes and
origin of a potential; counts, labels, ranges and a curation report of data, with the sign of the
forces; the resolved fields of a configuration, if it is valid and its files exist.
"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "info", help="describe a potential, data or configuration", description=DESCRIPTION
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="POTENTIAL, DATA or CONFIG.toml")
    kinds.add_labels(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from jmlip.core.errors import ConfigError
    from jmlip.data import is_store

    path = options.path
    labels = kinds.label_options(options)
    if any(labels.values()) and (path.suffix == ".toml" or (path.is_dir() and not is_store(path))):
        raise ConfigError(f"names and units of labels mean nothing for {path}, which holds none.")
    if path.suffix == ".toml":
        lines = describe_config(path)
    elif path.is_dir() and not is_store(path):
        lines = describe_potential(path)
    else:
        lines = describe_data(path, labels)
    print("\n".join(lines))


def describe_config(path: Path) -> list[str]:
    from jmlip.cli.config import FILE_FIELDS, RunConfig, load_config, to_toml
    from jmlip.cli.distill_config import load_distill_config
    from jmlip.core.config import load_toml, to_dict
    from jmlip.core.errors import ConfigError

    config = load_distill_config(path) if "teacher" in load_toml(path) else load_config(path)
    student = config if isinstance(config, RunConfig) else config.student
    absent = [
        str(file) for name in FILE_FIELDS for file in config.data.files(name) if not file.exists()
    ]
    if absent:
        raise ConfigError(
            f"{path} is well formed, but must name files that exist, found none at "
            f"{', '.join(absent)}."
        )
    head = f"# {path} is valid; what is not given here follows from the data"
    return [head, "", to_toml({**to_dict(config), "model": student.known_model()})]


def describe_potential(path: Path) -> list[str]:
    from ase.data import chemical_symbols

    from jmlip.cli.kernels import kernels_of
    from jmlip.factory import load_potential

    potential = load_potential(path)
    provenance = dict(potential.provenance)
    training, versions = provenance.pop("training", None), provenance.pop("versions", {})
    facts = {
        "kind": potential.kind,
        "species": " ".join(chemical_symbols[z] for z in potential.species),
        "cutoff": f"{potential.cutoff} angstrom",
        "parameters": str(potential.n_parameters),
        **_references(potential),
        **{name.replace("_", " "): str(value) for name, value in provenance.items()},
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    if kernels := kernels_of(potential.model):
        facts["kernels on CPU"] = kernels
    if training is not None:
        facts |= _training_facts(training)
    if potential.statistics:
        facts["trained on"] = _training_set(potential.statistics)
    return _aligned({"potential": str(path), **facts})


def _references(potential: Any) -> dict[str, str]:
    """The reference energies, of each head if there are several."""
    from ase.data import chemical_symbols

    heads = potential.heads or {"": potential.reference_energies}
    symbols = [chemical_symbols[z] for z in potential.species]
    return {
        f"reference energies{name and f' of head {name}'}": ", ".join(
            f"{symbol} {energy:.6g} eV" for symbol, energy in zip(symbols, energies, strict=True)
        )
        for name, energies in heads.items()
    }


def describe_data(path: Path, labels: dict) -> list[str]:
    from ase.symbols import Symbols

    from jmlip.data import curate, read

    structures = read(path, **labels)
    elements = Counter(symbol for s in structures for symbol in set(Symbols(s.species)))
    sizes = [s.n_atoms for s in structures]
    formulas = Counter(s.formula for s in structures)
    common = ", ".join(f"{formula} ({n})" for formula, n in formulas.most_common(5))
    more = f" and {len(formulas) - 5} more" if len(formulas) > 5 else ""
    facts = {
        "data": str(path),
        "structures": str(len(structures)),
        "atoms": f"{sum(sizes)}, {min(sizes)} to {max(sizes)} per structure",
        "elements": ", ".join(f"{e} ({n} structures)" for e, n in sorted(elements.items())),
        "compositions": common + more,
        "periodic": str(sum(s.is_periodic for s in structures)),
    }
    for name, unit in (
        ("energy", "eV/atom"),
        ("forces", "eV/angstrom"),
        ("stress", "eV/angstrom^3"),
    ):
        facts[name] = _range(name, unit, structures)
    return [*_aligned(facts), "", str(curate(structures))]


def _training_facts(training: dict) -> dict[str, str]:
    best = training.get("best")
    return {
        "best epoch": f"{training.get('best_epoch')} of {training.get('epochs')}",
        "validation": f"{training.get('select')} {best:.6g}" if best is not None else "none",
        "training time": f"{training.get('minutes')} minutes, {training.get('steps')} steps",
    }


def _training_set(statistics) -> str:
    return ", ".join(
        f"{statistics[key]} {name}"
        for key, name in (
            ("n_structures", "structures"),
            ("n_compositions", "compositions"),
            ("n_energies", "energies"),
            ("n_forces", "force sets"),
            ("n_stresses", "stresses"),
        )
        if key in statistics
    )


def _range(name: str, unit: str, structures: Sequence) -> str:
    import numpy as np

    labelled = [s for s in structures if getattr(s, name) is not None]
    if not labelled:
        return "none"
    if name == "energy":
        values = np.array([s.energy / s.n_atoms for s in labelled])
    else:
        values = np.concatenate([np.ravel(getattr(s, name)) for s in labelled])
    return (
        f"{len(labelled)} structures, {values.min():.6g} to {values.max():.6g}, "
        f"standard deviation {values.std():.3g} {unit}"
    )


def _aligned(facts: dict[str, str]) -> list[str]:
    width = max(map(len, facts))
    # a potential may come from a stranger: what it says of itself must not steer the terminal
    printable = lambda text: "".join(c if c.isprintable() else "?" for c in text)
    return [f"{name:<{width}}  {printable(value)}" for name, value in facts.items()]
