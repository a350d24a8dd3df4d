import subprocess
import sys

import pytest

from jmlip.core import units
from jmlip.core.errors import ConfigError
from jmlip.md.config import MDConfig

RUN = {"timestep_fs": 0.5, "n_steps": 10, "temperature_K": 300.0}


@pytest.mark.parametrize(
    ("ensemble", "option"),
    [
        ("nve", {"friction_per_ps": 1.0}),
        ("csvr", {"friction_per_ps": 1.0}),
        ("nve", {"tau_fs": 100.0}),
        ("langevin", {"tau_fs": 100.0}),
        ("csvr", {"chain_length": 3}),
    ],
)
def test_an_option_without_meaning_is_refused(ensemble, option):
    with pytest.raises(ConfigError, match=f"{next(iter(option))} means nothing"):
        MDConfig(ensemble=ensemble, **RUN, **option)


@pytest.mark.parametrize(
    "changes",
    [
        {"timestep_fs": 0.0},
        {"timestep_fs": float("nan")},
        {"n_steps": -1},
        {"temperature_K": 0.0},
        {"temperature_K": None},
        {"every": 0},
        {"n_steps": 2**31},
        {"seed": -1},
        {"skin": -0.5},
        {"chain_length": 1},
        {"tau_fs": float("inf")},
    ],
)
def test_an_impossible_value_is_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        MDConfig(ensemble="nose-hoover", **{**RUN, **changes})


WRONG_TYPES = """
import jax.numpy as jnp
from jmlip.core.errors import ConfigError
from jmlip.md.config import MDConfig
from jmlip.md.reweighting import weights

run = {"ensemble": "langevin", "timestep_fs": 1.0, "n_steps": 10, "temperature_K": 300.0}
for changes in (
    {"ensemble": "nvt"}, {"dtype": "float16"}, {"n_steps": 2.5}, {"every": 1.5},
    {"temperature_K": "300"}, {"ensemble": "npt", "pressure_GPa": 0.0, "cell_motion": "cubic"},
):
    try:
        MDConfig(**{**run, **changes})
    except ConfigError as error:
        print(error)
try:
    weights(jnp.ones(3), jnp.ones(1), kT=0.1)
except ConfigError as error:
    print(error)
"""


def test_wrong_types_are_refused_without_a_type_checker():
    """In a process of its own: these tests have one."""
    words = [sys.executable, "-c", WRONG_TYPES]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == 7
    for line, start in zip(
        said,
        ("ensemble", "dtype", "n_steps", "every", "temperature_K", "cell_motion", "energies"),
        strict=True,
    ):
        assert line.startswith(f"{start} ")
        assert " must be " in line


def test_values_in_internal_units():
    config = MDConfig(ensemble="langevin", **RUN, friction_per_ps=5.0)
    assert config.dt == 0.5 * units.FS
    assert config.kT == pytest.approx(0.025852, abs=1e-6)
    assert config.friction * units.PS == pytest.approx(5.0)
