"""What runs of one system and of many have in common beside their steps."""

from pathlib import Path

import numpy as np

from jmlip.core.errors import ConfigError
from jmlip.md.config import MDConfig
from jmlip.md.state import (
    COLLAPSED,
    EXPLODED,
    LEAST_VOLUME,
    MAX_DISPLACEMENT,
    MAX_TEMPERATURE_K,
)

FIRST_CHUNK = 10
"""Steps of the first chunk, from which the length of the next is estimated."""
FRAMES_PER_CHUNK = 1000
BYTES_PER_CHUNK = 1 << 26


def explain(status: int, where: str, out: str) -> str:
    """The message of a step that could not be made."""
    if status & COLLAPSED:
        return (
            f"a cell must keep {LEAST_VOLUME} angstrom^3 for each atom, and {where} it shrank "
            f"below; {out} ends with the last good frame: relax the cell of the start structure "
            "(jmlip relax --cell), lower pressure_GPa, raise tau_barostat_fs, or train the "
            "potential on denser structures."
        )
    found = (
        f"an atom moved more than {MAX_DISPLACEMENT} angstrom in one step or the temperature "
        f"passed {MAX_TEMPERATURE_K:.0f} K"
        if status & EXPLODED
        else "positions, momenta or forces were not finite"
    )
    return (
        f"dynamics must stay finite, and {where} {found}; {out} ends with the last good frame: "
        "relax the start structure, take a shorter time step, or train the potential on such "
        "structures."
    )


def require_not_passed(step: int, config: MDConfig, out: Path) -> None:
    """Refuse to end a run before the step it has reached."""
    if step > config.n_steps:
        raise ConfigError(
            f"n_steps must be at least the {step} steps that {out} has already, found "
            f"{config.n_steps}."
        )


def frames_per_chunk(n_atoms: int, dtype: str) -> int:
    """Most frames that are kept on the device before they are written."""
    frame_bytes = 9 * n_atoms * np.dtype(dtype).itemsize
    return max(1, min(FRAMES_PER_CHUNK, BYTES_PER_CHUNK // frame_bytes))
