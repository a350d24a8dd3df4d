"""Changes to a file that happen wholly or not at all, whatever kills the process in between.

HDF5 rewrites its own index while data are appended, so a file whose writer is killed is lost. Here
the bytes about to be overwritten are noted first, in a journal beside the file. A change that ends
removes the journal; a journal found later belongs to a change that was cut off, and is undone.

Journal: the size of the file, then (offset, length, bytes) of each piece overwritten, in order.
"""

import contextlib
import functools
import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_SIZE = struct.Struct("<Q")
_PIECE = struct.Struct("<QQ")


@contextlib.contextmanager
def transaction(path: Path) -> Iterator[io.FileIO]:
    """Yield the file, open for reading and writing; an error or a kill inside leaves no trace.

    The kill is undone by the next `roll_back`, which every reader that may meet one must call.
    """
    roll_back(path)
    try:
        with _journal(path).open("xb", buffering=0) as journal:
            journal.write(_SIZE.pack(path.stat().st_size))
            with _JournaledFile(path, journal) as file:
                yield file
                if file.failure is not None:
                    raise file.failure
                os.fsync(file.fileno())
    except BaseException:
        roll_back(path)
        raise
    _journal(path).unlink()


def roll_back(path: Path) -> None:
    """Undo the change that was under way when the last writer died, if there was one."""
    journal = _journal(path)
    if not journal.exists():
        return
    data = journal.read_bytes()
    if len(data) >= _SIZE.size:
        with path.open("r+b") as file:
            # the oldest bytes of a place were noted first, so they are put back last
            for offset, piece in reversed(list(_pieces(data[_SIZE.size :]))):
                file.seek(offset)
                file.write(piece)
            file.truncate(_SIZE.unpack_from(data)[0])
            file.flush()
            os.fsync(file.fileno())
    journal.unlink()


class _JournaledFile(io.FileIO):
    """A file that notes what stood, when it was opened, where it is about to write.

    A failure is kept for later, and nothing more is written: HDF5 calls from C, and a file that it
    cannot close takes the process down.
    """

    failure: OSError | None = None

    def __init__(self, path: Path, journal: BinaryIO):
        super().__init__(path, "r+b")
        self._journal, self._size = journal, os.fstat(self.fileno()).st_size

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        self._attempt(functools.partial(self._write, view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        self._attempt(functools.partial(self._truncate, size))
        return size

    def _attempt(self, change: Callable[[], None]) -> None:
        if self.failure is None:
            try:
                change()
            except OSError as failure:
                self.failure = failure

    def _write(self, view: memoryview) -> None:
        start = self.tell()
        self._note(start, start + len(view))
        _write_all(super().write, view)

    def _truncate(self, size: int) -> None:
        self._note(size, self._size)
        super().truncate(size)

    def _note(self, start: int, stop: int) -> None:
        length = min(stop, self._size) - start
        if length > 0:
            piece = os.pread(self.fileno(), length, start)
            header = _PIECE.pack(start, len(piece))
            _write_all(self._journal.write, memoryview(header + piece))


def _write_all(write: Callable[[memoryview], int | None], view: memoryview) -> None:
    written = 0
    while written < len(view):  # a disk that is almost full takes a part first
        written += write(view[written:]) or 0


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start + _PIECE.size <= len(data):
        offset, length = _PIECE.unpack_from(data, start)
        start += _PIECE.size
        if start + length > len(data):
            return  # cut off while being noted: nothing was overwritten yet
        yield offset, data[start : start + length]
        start += length


def _journal(path: Path) -> Path:
    return path.with_name(f".{path.name}.journal")
