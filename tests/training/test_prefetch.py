"""Batches made ahead come in order, with the errors of their making, and no further than asked."""

import threading
import time

import jax.numpy as jnp
import pytest

from jmlip.training.prefetch import prefetched


def test_items_come_in_order():
    assert list(prefetched(range(50), lambda k: k * k)) == [k * k for k in range(50)]


def test_an_error_is_raised_where_the_item_would_have_come():
    def make(k):
        if k == 3:
            raise ZeroDivisionError("the third")
        return k

    found = prefetched(range(9), make)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="the third"):
        next(found)


def test_it_works_while_the_consumer_waits_and_ends_when_closed():
    made, enough = [], threading.Event()

    def make(k):
        made.append(k)
        if k == 3:
            enough.set()
        return k

    found = prefetched(range(1000), make, depth=2)
    assert next(found) == 0
    assert enough.wait(10.0)  # 1 and 2 wait, 3 finds no place
    time.sleep(0.02)
    assert made == [0, 1, 2, 3]
    found.close()
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_double_precision_is_kept_in_the_thread(x64):
    (found,) = prefetched([0.5], jnp.asarray)
    assert found.dtype == jnp.float64
