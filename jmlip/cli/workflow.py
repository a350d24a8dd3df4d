"""From a configuration to a trained potential with its report: the way of `jmlip train`."""

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jmlip.cli.config import RunConfig, to_toml
from jmlip.cli.description import describe
from jmlip.cli.kernels import mention_kernels
from jmlip.cli.model_section import complete_model, resolve_model
from jmlip.cli.model_starts import head_names, started
from jmlip.cli.references import learned
from jmlip.cli.run_directory import CONFIG, require_run_of, run_directory
from jmlip.cli.sets import Sets, read_sets
from jmlip.core.checkpoint import whole_file, write_json
from jmlip.core.config import config_hash, to_dict
from jmlip.core.errors import ConfigError, DataError
from jmlip.core.structure import Structure
from jmlip.core.types import Key
from jmlip.data import Statistics, compute_statistics, data_hash, species_of
from jmlip.factory import HEADS, make_model, one_head
from jmlip.graphs.frames import Heads
from jmlip.potentials.potential import Potential, initial_potential, save_potential
from jmlip.potentials.storage import make_provenance, smallest_graph
from jmlip.training.config import TrainingConfig
from jmlip.training.loop import fit
from jmlip.training.loss_config import LossConfig, TermConfig
from jmlip.training.processes import writes
from jmlip.training.requirements import require_divisible
from jmlip.training.validation import require_labels

COPIES = 4
"""Of the parameters, at least: themselves, gradient, moving average, state of the optimizer."""


class Run(NamedTuple):
    """A finished run."""

    config: RunConfig  # resolved
    sets: Sets
    potential: Potential


class Prepared(NamedTuple):
    """Everything that is decided before the first step."""

    config: RunConfig  # resolved: it gives the same run without a look at the data
    sets: Sets
    potential: Potential
    training: TrainingConfig


def train(config: RunConfig, run_dir: Path, *, command: str, resume: bool = False) -> Run:
    """Train a potential and write its report; arguments and errors are those of `fit_config`."""
    from jmlip.cli.evaluate import print_table, shown
    from jmlip.cli.run_report import write_run_report

    run = fit_config(config, run_dir, command=command, resume=resume)
    if not writes():
        return run
    comparisons = write_run_report(run_dir, run)
    errors = {comparison.name: shown(comparison.result) for comparison in comparisons}
    write_json(run_dir / "errors.json", errors)
    print_table(errors)
    places = [f"{HEADS}/{name}" for name in run.potential.heads or ()] or ["potential"]
    print("".join(f"potential: {run_dir / place}\n" for place in places), end="")
    print(f"report: {run_dir / 'report.html'}")
    return run


def fit_config(
    config: RunConfig,
    run_dir: Path,
    *,
    command: str,
    resume: bool = False,
    told: set[str] | None = None,
) -> Run:
    """Train a potential.

    Args:
        config: what to do.
        run_dir: must be empty or absent, unless the run is resumed.
        command: what goes into the provenance.
        resume: continue from the last checkpoint, or start where there is none.
        told: notices that were given before and are not repeated; those of this run are added.

    Raises:
        ConfigError: files, labels or devices are missing, the directory holds something.
        DataError: the data are not what they must be.
        DivergenceError: training left the finite numbers.
    """
    with run_directory(run_dir, resume=resume) if writes() else contextlib.nullcontext():
        require_run_of("train", run_dir)
        require_divisible(config.training)
        prepared = prepare(config, command=command)
        if writes():
            print(describe(*prepared[:3]), flush=True)
            mention_kernels(prepared.potential.model)
            if not (run_dir / CONFIG).exists():  # a resumed run has it
                write_config(run_dir, prepared.config)
        fitted = fit(
            prepared.potential,
            prepared.sets.train,
            prepared.sets.validation,
            prepared.training,
            run_dir,
            resume=resume,
            told=told,
        )
    if writes():  # a resumed run may have been given a later end
        write_config(run_dir, prepared.config)
        write_heads(run_dir, fitted)
    return Run(prepared.config, prepared.sets, fitted)


def write_heads(run_dir: Path, fitted: Potential) -> None:
    """Each head of a potential with several as one of its own."""
    for name in fitted.heads or ():
        save_potential(one_head(fitted, name), run_dir / HEADS / name)


def write_config(run_dir: Path, config: Any) -> None:
    """Write the resolved configuration of a run."""
    with whole_file(run_dir / CONFIG) as partial:
        partial.write_text(to_toml(to_dict(config)), encoding="utf-8")


def prepare(config: RunConfig, *, command: str, sets: Sets | None = None) -> Prepared:
    """Complete the configuration from the data, and make the initial potential.

    Args:
        config: what to do.
        command: what goes into the provenance.
        sets: the data; read from the files of the configuration unless given.
    """
    sets = sets or read_sets(config.data, heads=head_names(config.model))
    species = species_of(sets.train)
    seen = learned(config, sets.train, species)
    # scales and radial functions follow from what the model learns, records from the data
    own = statistics = _statistics_of(seen.structures, species, seen.own)
    if seen.own != seen.whole:
        statistics = _statistics_of(sets.train, species, seen.whole)
    config = resolve(config, species, own)
    assert config.loss is not None
    training = config.training_config(config.loss)
    require_labels(training, sets.train, sets.validation)
    potential = initial(config, species, statistics, command=command, heads=seen.heads)
    if seen.heads:  # whose energies were moved
        found = {"data_hash": data_hash(sets.train)}
        potential = dataclasses.replace(
            potential,
            statistics={**potential.statistics, **found},
            provenance={**potential.provenance, **found},
        )
    for structures in (sets.validation, *sets.tests.values()):
        for structure in structures:
            potential.require_known(structure)
    return Prepared(config, sets, potential, training)


def _statistics_of(
    structures: Sequence[Structure], species: tuple[int, ...], references: tuple[float, ...]
) -> Callable[[float], Statistics]:
    """Statistics by cutoff, each computed once."""

    @functools.cache
    def statistics(cutoff: float) -> Statistics:
        return compute_statistics(
            structures, cutoff=cutoff, species=species, reference_energies=references
        )

    return statistics


def resolve(
    config: RunConfig, species: tuple[int, ...], statistics: Callable[[float], Statistics]
) -> RunConfig:
    """The configuration with everything filled in that follows from the data."""
    model = resolve_model(config.model, species, statistics, shift_by_mean=config.shifts_by_mean)
    cutoff = complete_model(model, species, None).config.cutoff
    found = statistics(cutoff)
    if found.n_atoms > found.n_structures and not found.mean_neighbors:
        raise ConfigError(
            f"no atom of the training set has a neighbor within the cutoff of {cutoff} angstrom; "
            "raise model.cutoff, or look at the units of the positions."
        )
    loss = config.loss or default_loss(found)
    return dataclasses.replace(config, model=model, loss=loss)


def default_loss(statistics: Statistics) -> LossConfig:
    """Energies and forces, as far as there are labels.

    Raises:
        DataError: there are neither.
    """
    terms = {}
    if statistics.n_energies:
        terms["energy"] = TermConfig(weight=1.0)
    if statistics.n_forces:
        terms["forces"] = TermConfig(weight=10.0)
    if not terms:
        raise DataError(
            "the training set must have energies or forces, found neither; check the names of the "
            "labels in the file."
        )
    return LossConfig(**terms)


def initial(
    config: RunConfig,
    species: tuple[int, ...],
    statistics: Callable[[float], Statistics],
    *,
    command: str,
    heads: Heads | None = None,
) -> Potential:
    """The potential before the first step: random parameters, or those it starts from."""
    model = complete_model(config.model, species, None)
    if heads:
        model = make_model(HEADS, {**to_dict(model.config), "heads": heads})
    found = statistics(model.config.cutoff)
    key = jax.random.key(config.training.seed)
    _require_memory(model, key)
    potential = initial_potential(
        config.kind,
        model,
        key=key,
        reference_energies=found.reference_energies,
        statistics=found.to_dict(),
        provenance=make_provenance(
            data_hash=found.data_hash, config_hash=config_hash(config), command=command
        ),
    )
    return started(config.model, potential)


def _require_memory(model: nn.Module, key: Key) -> None:
    """Refuse a model that cannot fit, before a compiler meets its shapes and takes Python down."""
    leaves = jax.tree.leaves(jax.eval_shape(model.init, key, smallest_graph()))
    n = sum(math.prod(leaf.shape) for leaf in leaves)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if COPIES * 4 * n > memory:
        raise ConfigError(
            f"a model must fit into memory, found {n:.3g} parameters, {COPIES} copies of which "
            f"take {COPIES * 4 * n / 2**30:.3g} of {memory / 2**30:.3g} GiB; make it smaller."
        )
