"""Work ahead: the next batches are made in a thread while the device computes."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import jax
import numpy as np

Item = TypeVar("Item")
Made = TypeVar("Made")
DEPTH = 2
"""Batches that wait for the device; one would do where every batch took the same time to make."""


def prefetched(
    items: Iterable[Item], make: Callable[[Item], Made], *, depth: int = DEPTH
) -> Generator[Made, None, None]:
    """`make` of every item, in order, made by a thread that is at most `depth` ahead.

    What goes wrong in the thread is raised here, in its place. Closing the generator ends the
    thread; it holds nothing that a dying process would have to save.
    """
    made: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    closed, end = threading.Event(), object()
    # a setting of this thread, which another one does not inherit
    x64 = jax.dtypes.canonicalize_dtype(np.float64) == np.float64

    def put(value: Any, error: BaseException | None = None) -> None:
        while not closed.is_set():
            try:
                return made.put((value, error), timeout=0.1)
            except queue.Full:
                pass

    def work() -> None:
        try:
            with jax.enable_x64(x64):
                for item in items:
                    if closed.is_set():
                        return
                    put(make(item))
            put(end)
        except BaseException as error:
            put(None, error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            value, error = made.get()
            if error is not None:
                raise error
            if value is end:
                return
            yield value
    finally:
        closed.set()
        thread.join()
