from typing import get_args

from dataharbour.api.schemas import BackendName
from dataharbour.jobs.backends import BACKENDS


def test_the_api_offers_the_backends_that_there_are():
    assert set(get_args(BackendName)) == set(BACKENDS)
