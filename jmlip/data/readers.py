"""Files to structures, one stream for every format.

`read` and `iread` choose a format by content and ending, number its frames, pick labels, convert
units, and turn every failure into one sentence with the path and the frame. Formats: extended XYZ
(`extxyz`), H5MD (`h5md`), ANI-style HDF5 (`ani`), MD17 npz (`npz`), a store of this project
(`store`), ASE databases, and whatever else ASE reads.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import ase.io.formats

from jmlip.core.errors import ConfigError, DataError, JmlipError
from jmlip.core.structure import Structure
from jmlip.data import ani, extxyz, h5md, npz
from jmlip.data.ase_bridge import raw_frame
from jmlip.data.labels import LabelOptions, LabelReader, RawFrame
from jmlip.data.store import StructureStore, is_store
from jmlip.data.units import Units

Frames = Iterator[Callable[[], RawFrame]]
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_DATABASES = ("db", "json", "aselmdb")


def read(
    path: str | Path,
    *,
    index: int | slice | None = None,
    format: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    units: Units | None = None,
    level: str | None = None,
    forces_are_gradients: bool = False,
) -> list[Structure]:
    r"""Read a file into structures; see `iread`, which does the same one frame at a time.

    Example:
        >>> import tempfile
        >>> text = '2\nProperties=species:S:1:pos:R:3 dft_energy=-1.0\nH 0 0 0\nH 0 0 0.74\n'
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "hydrogen.xyz"
        ...     n_bytes = path.write_text(text)
        ...     (hydrogen,) = read(path, energy_key="dft_energy", units=Units(energy="hartree"))
        >>> hydrogen.formula, round(hydrogen.energy, 6), hydrogen.forces
        ('H2', -27.211386, None)
    """
    return list(
        iread(
            path,
            index=index,
            format=format,
            energy_key=energy_key,
            forces_key=forces_key,
            stress_key=stress_key,
            units=units,
            level=level,
            forces_are_gradients=forces_are_gradients,
        )
    )


def iread(
    path: str | Path,
    *,
    index: int | slice | None = None,
    format: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    units: Units | None = None,
    level: str | None = None,
    forces_are_gradients: bool = False,
) -> Iterator[Structure]:
    """Stream the structures of a file; one frame is in memory at a time.

    Args:
        path: a file, or a store written by `write_store`.
        index: one frame or a slice of them; default all.
        format: extxyz, h5md, ani, npz, or a format name of ASE; default: by content and ending.
        energy_key: column that holds the total energy. Default: `energy`, else `free_energy`
            (forces of a smeared calculation are derivatives of the latter: name it to get it).
        forces_key: column that holds the forces. Default: `forces`.
        stress_key: column that holds the stress, six Voigt or nine components, tension positive; a
            key whose name contains "virial" is read as -stress * volume. Default: `stress`, else
            `virial`.
        units: units of the numbers that ASE or the file gives. Default: hartree and angstrom for
            HDF5, kcal/mol and angstrom for npz, eV and angstrom elsewhere (ASE has converted).
            `info` is not converted.
        level: level of theory of an ANI-1x file, for example `wb97x_dz`.
        forces_are_gradients: the forces column is +dE/dR; its sign is turned.

    Returns:
        An iterator over structures in internal units. Labels that a frame lacks are None.

    Raises:
        DataError: one sentence with path and frame: the file is missing, empty, truncated or of
            no known format; a line, a shape, an element or a number is wrong (NaN labels are
            errors, except in HDF5, where they mark a level that was not computed); a key that was
            asked for is in no frame.
        ConfigError: a unit is unknown, or an option does not belong to the format.
    """
    options = LabelOptions(
        energy_key=energy_key,
        forces_key=forces_key,
        stress_key=stress_key,
        level=level,
        forces_are_gradients=forces_are_gradients,
    )
    path = Path(path)
    if isinstance(index, slice) and index.step is not None and index.step < 1:
        raise ConfigError(f"index must have a positive step, found {index}.")
    if not path.exists():
        raise DataError(f"cannot read {path}: no such file; check the path.")
    if is_store(path):
        if format is not None or units is not None or options != LabelOptions():
            raise ConfigError(f"{path} is a store: keys, units and format were fixed at writing.")
        return _select(lambda: iter(StructureStore(path)), index, path)
    format = format or _format(path)
    if level is not None and format != "ani":
        raise ConfigError(f"level belongs to ANI-style HDF5 files; {path} is read as {format}.")
    reader = LabelReader(options, units or _default_units(path, format))
    return _stream(path, format, reader, index)


def _stream(
    path: Path, format: str, reader: LabelReader, index: int | slice | None
) -> Iterator[Structure]:
    numbered = _select(lambda: _numbered(path, format, reader.options), index, path)
    for number, parse in numbered:
        yield _guard(lambda parse=parse: reader.structure(parse()), f"{path}, frame {number}")
    _guard(reader.finish, str(path))


def _numbered(
    path: Path, format: str, options: LabelOptions
) -> Iterator[tuple[int, Callable[[], RawFrame]]]:
    source = _frames(path, format, options)
    number, end = 0, object()
    while True:
        where = f"{path}, frame {number}" if number else f"cannot read {path} as {format}"
        item: Any = _guard(lambda: next(source, end), where)
        if item is end:
            return
        yield number, item
        number += 1


def _frames(path: Path, format: str, options: LabelOptions) -> Frames:
    if format == "extxyz":
        return extxyz.frames(path)
    if format == "h5md":
        return h5md.frames(path)
    if format == "ani":
        return ani.frames(path, options)
    if format == "npz":
        return npz.frames(path, options.asked)
    if format in _DATABASES:
        return _database(path)
    return _ase(path, format)


def _default_units(path: Path, format: str) -> Units:
    if format == "npz":
        return npz.declared_units(path)
    return ani.UNITS if format == "ani" else Units()


def _ase(path: Path, format: str) -> Frames:
    images = ase.io.iread(str(path), index=slice(None), format=format, do_not_split_by_at_sign=True)
    for atoms in images:
        yield lambda atoms=atoms: raw_frame(atoms)


def _database(path: Path) -> Frames:
    database: Any = ase.db.connect(path, serial=True)
    with database:
        for row in database.select():
            yield lambda row=row: _row(row)


def _row(row: Any) -> RawFrame:
    raw = raw_frame(row.toatoms())
    return raw._replace(info={**raw.info, **row.key_value_pairs, **row.data})


def _format(path: Path) -> str:
    if (path / "config.json").is_file():
        raise DataError(f"{path} is a potential, and a file of structures is needed here.")
    if path.is_file():
        with _guard(lambda: path.open("rb"), f"cannot read {path}") as file:
            start = file.read(8)
        if not start:
            raise DataError(f"{path} is empty; obtain it again.")
        if start == _HDF5_MAGIC and path.suffix != ".nc":
            return "h5md" if h5md.is_h5md(path) else "ani"
    endings = {".h5": "ani", ".hdf5": "ani", ".npz": "npz", ".xyz": "extxyz", ".extxyz": "extxyz"}
    name, _ = ase.io.formats.get_compression(str(path))
    if Path(name).suffix in endings:
        return endings[Path(name).suffix]
    try:
        found = ase.io.formats.filetype(str(path))
        if ase.io.formats.ioformats[found].can_read:
            return found
    except (KeyError, ase.io.formats.UnknownFileTypeError):
        pass
    raise DataError(
        f"cannot read {path}: no format is known for its name and content; name one by format."
    )


def _select(frames: Callable[[], Iterator], index: int | slice | None, path: Path) -> Iterator:
    wanted = slice(None) if index is None else index
    if isinstance(wanted, int):
        wanted = slice(wanted, wanted + 1 or None)
    if min(wanted.start or 0, wanted.stop or 0) < 0:
        count = sum(1 for _ in frames())
        start, stop, step = wanted.indices(count)
    else:
        start, stop, step = wanted.start or 0, wanted.stop, wanted.step or 1
    found = False
    for item in islice(frames(), start, stop, step):
        found = True
        yield item
    if not found:
        raise DataError(
            f"{path} holds no frame."
            if index is None
            else f"index {index} selects none of the {sum(1 for _ in frames())} frames of {path}."
        )


def _guard(action: Callable[[], Any], where: str) -> Any:
    """What `action` returns; whatever it raises becomes one sentence that begins with `where`."""
    try:
        return action()
    except ConfigError:
        raise
    except JmlipError as error:
        message = str(error)
        raise DataError(message if message.startswith(where) else f"{where}: {message}") from error
    except OSError as error:
        raise DataError(f"{where}: {_one_line(error.strerror or error)}.") from error
    except MemoryError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not text, found byte {error.start}; name the format.") from error
    except Exception as error:  # readers of ASE raise whatever they meet
        raise DataError(f"{where}: {type(error).__name__}: {_one_line(error)}.") from error


def _one_line(message: object) -> str:
    return " ".join(str(message).split())[:200].rstrip(".") or "no reason given"
