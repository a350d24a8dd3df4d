import jaxtyping
import numpy as np
import pytest

from jmlip.ops.neighbors import neighbors


def test_shapes_are_checked_while_testing():
    with pytest.raises(jaxtyping.TypeCheckError):
        neighbors(np.zeros((4, 2)), np.eye(3), np.zeros(3, bool), 3.0)
