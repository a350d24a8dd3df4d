"""Chemical elements, named by their atomic numbers."""

from collections.abc import Sequence

HIGHEST_NUMBER = 118


def check_species(species: Sequence[int]) -> None:
    """The elements of a model: at least one, each an atomic number, each once.

    Raises:
        ValueError: they are not.
    """
    if not species or len(set(species)) != len(species):
        raise ValueError(f"model.species must be distinct elements, got {species}.")
    if not all(1 <= number <= HIGHEST_NUMBER for number in species):
        raise ValueError(f"model.species must be atomic numbers, got {species}.")
