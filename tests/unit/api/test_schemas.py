import math

import pytest
from pydantic import ValidationError

from dataharbour.api.schemas.requests import StartJob, StartRun


@pytest.mark.parametrize(
    "body",
    [
        {"application": "a.py", "color": "red"},
        {"application": ""},
        {"application": "a\0.py"},
        {"application": "a.py", "args": ["x\0"]},
        {"application": "a.py", "args": "x"},
        {"application": "a.py", "backend": "mesos"},
        {"application": "a.py", "labels": {"bad name": "x"}},
        {"application": "a.py", "labels": {"team": "\ud800"}},
        {"application": "a.py", "conf": {"spark.x": None}},
        {"application": "a.py", "conf": {"spark.x": math.inf}},
        {"application": "a.py", "timeout_s": 0},
        {},
    ],
)
def test_a_request_that_the_platform_could_not_keep_is_refused(body):
    with pytest.raises(ValidationError):
        StartRun.model_validate(body)


@pytest.mark.parametrize("value", ["a\0", math.nan, "\ud800", {"deep": ["\0"]}])
def test_a_parameter_that_the_database_could_not_keep_is_refused(value):
    with pytest.raises(ValidationError):
        StartJob.model_validate({"params": {"p": value}})


@pytest.mark.parametrize("value", ["a\\u0000", {"\\u0000": ["C:\\u0000"]}])
def test_a_text_that_only_speaks_of_nul_is_kept(value):
    assert StartJob.model_validate({"params": {"p": value}}).params == {"p": value}


def test_what_is_left_out_has_a_default():
    run = StartRun.model_validate({"application": "a.py"})
    assert (run.args, run.conf, run.backend, run.labels, run.timeout_s) == (
        [],
        {},
        "connect",
        {},
        None,
    )
