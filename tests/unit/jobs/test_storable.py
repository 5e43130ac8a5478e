from __future__ import annotations

import pytest

from dataharbour.errors import ConfigError
from dataharbour.jobs.model import RunRequest
from dataharbour.jobs.storable import place_of_nul, refuse_nul


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"args": ["a", "b\0"]}, "args[1]"),
        ({"params": {"deep": [{"x": "\0"}]}}, "params.deep[0].x"),
        ({"labels": {"a\0b": "x"}}, "a name in labels"),
        ({"\0": 1}, "a name"),
        ({"args": ["a\\u0000"], "timeout_s": 1.5, "schedule": None}, None),
    ],
)
def test_the_place_is_named(value, place):
    assert place_of_nul(value) == place


def test_a_request_that_no_database_could_keep_is_refused_with_its_place():
    with pytest.raises(ConfigError, match=r"The run's args\[0\] holds the character NUL") as caught:
        refuse_nul(RunRequest("a.py", args=("s3cret\0",)))
    assert "s3cret" not in str(caught.value)
    refuse_nul(RunRequest("a.py", args=("fine",), params={"x": 1}))
