"""Every subject in turn."""

import pytest

from tests.contracts.subjects import SUBJECTS


@pytest.fixture(scope="module", params=SUBJECTS, ids=str)
def subject(request):
    return request.param


@pytest.fixture(scope="module")
def potential(subject):
    return subject.make()
