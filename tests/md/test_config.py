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


def test_values_in_internal_units():
    config = MDConfig(ensemble="langevin", **RUN, friction_per_ps=5.0)
    assert config.dt == 0.5 * units.FS
    assert config.kT == pytest.approx(0.025852, abs=1e-6)
    assert config.friction * units.PS == pytest.approx(5.0)
