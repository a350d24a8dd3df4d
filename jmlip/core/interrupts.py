"""Interruptions that wait for the end of a step: Ctrl-C and the signal of batch queues."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interrupt:
    """Whether the run was asked to stop."""

    requested = False


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[Interrupt]:
    """Within the block, the first SIGINT or SIGTERM sets a flag; the second acts as it always does.

    Signals belong to the main thread; in any other one the flag is never set.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in previous.items():
            # a handler that was not set from Python reads as None
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def note(number, frame):
        interrupt.requested = True
        restore()

    for number in previous:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        restore()
