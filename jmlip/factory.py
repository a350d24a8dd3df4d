"""From names to models and from directories to potentials: the only file that knows every model."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from jmlip.core.config import from_dict, to_dict, unknown
from jmlip.core.errors import ConfigError, PotentialError
from jmlip.models.allegro import Allegro
from jmlip.models.allegro_config import PRESETS as ALLEGRO_PRESETS
from jmlip.models.allegro_config import AllegroConfig
from jmlip.models.ani import ANI, ANIConfig
from jmlip.models.heads import READOUTS, TRUNK, Heads, HeadsConfig
from jmlip.models.hipnn import HIPNN, HIPNNConfig
from jmlip.models.lennard_jones import LennardJones, LennardJonesConfig
from jmlip.models.multi_ace import MultiACE
from jmlip.models.multi_ace_config import PRESETS as MULTI_ACE_PRESETS
from jmlip.models.multi_ace_config import MultiACEConfig
from jmlip.models.pair import PARTS, Pair, PairConfig
from jmlip.models.sizes import SIZES
from jmlip.models.stillinger_weber import StillingerWeber, StillingerWeberConfig
from jmlip.potentials.ensembles import is_ensemble, read_members, require_members
from jmlip.potentials.hashing import content_hash
from jmlip.potentials.potential import Potential
from jmlip.potentials.storage import LARGEST_CUTOFF, read_parameters, read_potential_files

MODELS: Mapping[str, tuple[type[nn.Module], type]] = {
    "allegro": (Allegro, AllegroConfig),
    "allegro-2023": (Allegro, AllegroConfig),
    "ani": (ANI, ANIConfig),
    "botnet": (MultiACE, MultiACEConfig),
    "hipnn": (HIPNN, HIPNNConfig),
    "lennard-jones": (LennardJones, LennardJonesConfig),
    "linear-ace": (MultiACE, MultiACEConfig),
    "mace": (MultiACE, MultiACEConfig),
    "nequip": (MultiACE, MultiACEConfig),
    "stillinger-weber": (StillingerWeber, StillingerWeberConfig),
}

PRESETS: Mapping[str, Mapping[str, Any]] = {**ALLEGRO_PRESETS, **MULTI_ACE_PRESETS}
KINDS = (*MODELS, "pair")
"""What `model.kind` may be; a pair is made of two models of the others."""
HEADS = "heads"
"""Kind of a potential with several heads, each for one data set, on the trunk of one model."""


def make_model(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """The model `kind` (one of `KINDS`) with a configuration given as plain values.

    Args:
        kind: name of the model, or of a preset.
        config: fields of its configuration; `size` ("S", "M", "L") stands for those of
            `jmlip.models.sizes`, where they are not given themselves. A "pair" has two tables,
            `small` and `large`, each with `kind` and the fields of that model. "heads" has one,
            `trunk`, and `heads`, reference energies by name.

    Raises:
        ConfigError: unknown kind or key (the nearest valid one is named), or a value out of range.

    Example:
        >>> make_model("hipnn", {"species": [1, 6, 8], "n_features": 32}).config.n_features
        32
    """
    if kind == "pair":
        return _make_pair(from_dict(PairConfig, config, where="model"))
    if kind == HEADS:
        return _make_heads(from_dict(HeadsConfig, config, where="model"))
    return _make_single(kind, config, where="model")


def _make_single(kind: str, config: Mapping[str, Any], *, where: str) -> nn.Module:
    if kind not in MODELS:
        raise ConfigError(unknown(kind, KINDS, what=f"{where}.kind {kind!r}"))
    module, config_class = MODELS[kind]
    values = {**PRESETS.get(kind, {}), **_sized(kind, config, where=where)}
    found = from_dict(config_class, values, where=where)
    if found.cutoff > LARGEST_CUTOFF:
        raise ConfigError(f"{where}.cutoff must be at most {LARGEST_CUTOFF}, found {found.cutoff}.")
    return module(config=found)


def _sized(kind: str, config: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
    if "size" not in config:
        return config
    given = {name: value for name, value in config.items() if name != "size"}
    size = config["size"]
    if kind not in SIZES:
        raise ConfigError(f"{where}.size means nothing for {kind!r}, which has one; leave it out.")
    if not isinstance(size, str) or size not in SIZES[kind]:
        raise ConfigError(unknown(str(size), SIZES[kind], what=f"{where}.size {size!r}"))
    return {**SIZES[kind][size], **given}


def _make_pair(config: PairConfig) -> Pair:
    """Both models, and a configuration in which all their fields are named."""
    models, tables = {}, {}
    for name in PARTS:
        models[name], tables[name] = _make_part(getattr(config, name), config.species, name)
    return Pair(config=PairConfig(species=config.species, **tables), **models)


def _make_part(
    table: Mapping[str, Any], species: tuple[int, ...], name: str
) -> tuple[nn.Module, dict[str, Any]]:
    """A model within another one, and its table with all fields named."""
    given = {**table, "species": [*species]}
    kind = given.pop("kind", "")
    model: Any = _make_single(kind, given, where=f"model.{name}")
    named = {"kind": kind, **to_dict(model.config)}
    del named["species"]
    return model, named


def _make_heads(config: HeadsConfig) -> Heads:
    """The model of the trunk, and a configuration in which all its fields are named."""
    model, table = _make_part(config.trunk, config.species, TRUNK)
    if type(model) not in READOUTS:
        known = [kind for kind, (module, _) in MODELS.items() if module in READOUTS]
        raise ConfigError(
            f"a model with heads must be one of {', '.join(known)}, found {table['kind']!r}; "
            "choose one of these, or remove model.heads."
        )
    return Heads(config=dataclasses.replace(config, trunk=table), single=model)


def one_head(potential: Potential, name: str) -> Potential:
    """One head of a potential with several, as an ordinary potential.

    Raises:
        PotentialError: there is no such head.

    Example:
        >>> import jax
        >>> from jmlip.potentials.potential import initial_potential
        >>> trunk = {"kind": "hipnn", "n_features": 4, "n_onsite": 0}
        >>> heads = {"dft": [-13.6, -2041.8], "cc": [-13.7, -2043.0]}
        >>> model = make_model("heads", {"species": [1, 8], "heads": heads, "trunk": trunk})
        >>> both = initial_potential(
        ...     "heads", model, key=jax.random.key(0), reference_energies=heads["dft"]
        ... )
        >>> one_head(both, "cc").kind, one_head(both, "cc").reference_energies
        ('hipnn', (-13.7, -2043.0))
    """
    if not (isinstance(potential.model, Heads) and name in (potential.heads or {})):
        raise PotentialError(unknown(name, potential.heads or {}, what=f"head {name!r}"))
    config = potential.model.config
    return dataclasses.replace(
        potential,
        kind=config.trunk["kind"],
        model=potential.model.single,
        params={**potential.params[TRUNK], **potential.params[name]},
        reference_energies=config.heads[name],
    )


def split_pair(potential: Potential) -> tuple[Potential, Potential] | None:
    """The two parts of a pair as potentials that add up to it; None for any other potential.

    Returns:
        The small one, with the reference energies, and the large one, which is a residual and has
        none.
    """
    if not isinstance(potential.model, Pair):
        return None
    parts = []
    for name in PARTS:
        model: Any = getattr(potential.model, name)
        part = dataclasses.replace(
            potential,
            kind=getattr(potential.model.config, name)["kind"],
            model=model,
            params=potential.params[name],
            cutoff=model.config.cutoff,
        )
        parts.append(part)
    small, large = parts
    return small, dataclasses.replace(large, reference_energies=(0.0,) * len(large.species))


def load_potential(path: str | Path) -> Potential:
    """Read a potential directory written by `jmlip.potentials.potential.save_potential`.

    Nothing in the directory is executed, and everything is checked: it may come from a stranger.

    Raises:
        PotentialError: a file is missing or damaged, the format is newer, the kind of model is
            unknown, or the parameters do not fit the configuration; or it is an ensemble.

    Example:
        >>> import jax, tempfile
        >>> from jmlip.potentials.potential import initial_potential, save_potential
        >>> model = make_model("hipnn", {"species": [1, 8], "n_features": 4, "n_onsite": 0})
        >>> potential = initial_potential(
        ...     "hipnn", model, key=jax.random.key(0), reference_energies=(-13.6, -2041.8)
        ... )
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     save_potential(potential, f"{directory}/water")
        ...     loaded = load_potential(f"{directory}/water")
        >>> loaded.kind, loaded.species, loaded.cutoff
        ('hipnn', (1, 8), 6.5)
    """
    if is_ensemble(path):
        members = [str(Path(path) / name) for name in read_members(path)]
        raise PotentialError(
            f"{path} must be one potential, and is an ensemble of {len(members)}; name one of its "
            f"members: {', '.join(members)}."
        )
    files = read_potential_files(path)
    # the parts of a pair, the trunk of heads
    tables = [files.model, *(part for part in files.model.values() if isinstance(part, dict))]
    if any("size" in table for table in tables):
        raise PotentialError(f"{path}: config.json must name all fields, found 'size' instead.")
    try:
        model: Any = make_model(files.kind, files.model)
    except ConfigError as error:
        raise PotentialError(f"{path}: {error}") from error
    if (model.config.species, model.config.cutoff) != (files.species, files.cutoff):
        raise PotentialError(
            f"{path}: config.json contradicts itself: the model has species {model.config.species} "
            f"and cutoff {model.config.cutoff}, the potential {files.species} and {files.cutoff}."
        )
    return Potential(
        kind=files.kind,
        model=model,
        params=read_parameters(path, model, dtype=files.dtype),
        species=files.species,
        cutoff=files.cutoff,
        reference_energies=files.reference_energies,
        statistics=files.statistics,
        provenance=files.provenance,
    )


def load_ensemble(path: str | Path) -> tuple[Potential, ...]:
    """Read an ensemble directory written by `jmlip.potentials.ensembles.write_ensemble`.

    Raises:
        PotentialError: the table or a member is missing or damaged, or a member is another than
            the one that was written.

    Example:
        >>> import jax, tempfile
        >>> from jmlip.potentials.ensembles import write_ensemble
        >>> from jmlip.potentials.potential import initial_potential
        >>> model = make_model("hipnn", {"species": [1], "n_features": 4, "n_onsite": 0})
        >>> initial = lambda seed: initial_potential(
        ...     "hipnn", model, key=jax.random.key(seed), reference_energies=(-13.6,)
        ... )
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     write_ensemble([initial(0), initial(1)], f"{directory}/hydrogen")
        ...     len(load_ensemble(f"{directory}/hydrogen"))
        2
    """
    members = []
    for name, expected in read_members(path).items():
        members.append(load_potential(Path(path) / name))
        if content_hash(members[-1]) != expected:
            raise PotentialError(
                f"{Path(path) / name} must be the potential that the ensemble was written with, "
                "found another; write the ensemble again."
            )
    require_members(members)
    return tuple(members)
