"""Data: files to `Structure`, a store larger than memory, splits, statistics, curation.

`read` and `iread` turn a file of any format into structures in internal units; `write` makes
extended XYZ. `write_store` and `StructureStore` keep sets that do not fit into memory. `split_*`
return named index arrays, to be used with `Subset`. `compute_statistics` and
`reference_energies_*` give what a model is initialized from; `curate` and `check_force_sign` tell
what is wrong with a set before anything is trained on it.
"""

from jmlip.data.ase_bridge import from_atoms as from_atoms
from jmlip.data.ase_bridge import to_atoms as to_atoms
from jmlip.data.curation import CurationReport as CurationReport
from jmlip.data.curation import curate as curate
from jmlip.data.force_sign import ForceSign as ForceSign
from jmlip.data.force_sign import check_force_sign as check_force_sign
from jmlip.data.hashing import data_hash as data_hash
from jmlip.data.hiding import Hidden as Hidden
from jmlip.data.readers import iread as iread
from jmlip.data.readers import read as read
from jmlip.data.reference import is_isolated_atom as is_isolated_atom
from jmlip.data.reference import (
    reference_energies_from_isolated as reference_energies_from_isolated,
)
from jmlip.data.reference import (
    reference_energies_least_squares as reference_energies_least_squares,
)
from jmlip.data.reference import species_of as species_of
from jmlip.data.split_files import split_by_index_file as split_by_index_file
from jmlip.data.splits import split_by_blocks as split_by_blocks
from jmlip.data.splits import split_by_composition as split_by_composition
from jmlip.data.splits import split_by_groups as split_by_groups
from jmlip.data.splits import split_random as split_random
from jmlip.data.statistics import Statistics as Statistics
from jmlip.data.statistics import compute_statistics as compute_statistics
from jmlip.data.store import StructureStore as StructureStore
from jmlip.data.store import Subset as Subset
from jmlip.data.store import is_store as is_store
from jmlip.data.store import write_store as write_store
from jmlip.data.units import Units as Units
from jmlip.data.writing import write as write
