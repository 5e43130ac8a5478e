import json

import pytest

from dataharbour import errors
from dataharbour.api.problems import STATUS, problem_response, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotAuthenticated, 401),
        (errors.Forbidden, 403),
        (errors.RunNotFound, 404),
        (errors.JobNotFound, 404),
        (errors.ApplicationNotFound, 422),
        (errors.ApplicationNotAllowed, 422),
        (errors.ConfNotAllowed, 422),
        (errors.IdempotencyConflict, 422),
        (errors.JobInvalid, 422),
        (errors.Conflict, 409),
        (errors.Unavailable, 503),
        (errors.DataHarbourError, 500),
    ],
)
def test_each_error_has_its_status(error, status):
    assert status_of(error("p", "r")) == status


def test_a_new_error_class_takes_the_status_of_its_closest_relative():
    class Special(errors.RunNotFound):
        pass

    assert status_of(Special("p", "r")) == 404
    assert errors.DataHarbourError in STATUS, "without it, some error would have no status"


def test_a_problem_carries_code_detail_remedy_and_errors():
    response = problem_response(
        errors.ConfNotAllowed("spark.jars is not allowed.", "Leave it out."),
        details=[{"detail": "not allowed", "pointer": "#/conf/spark.jars"}],
    )
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(response.body) == {
        "title": "Unprocessable Entity",
        "status": 422,
        "code": "conf-not-allowed",
        "detail": "spark.jars is not allowed.",
        "remedy": "Leave it out.",
        "errors": [{"detail": "not allowed", "pointer": "#/conf/spark.jars"}],
    }


def test_who_is_not_signed_in_is_told_how_and_who_must_wait_how_long():
    unsigned = problem_response(errors.NotAuthenticated("p", "r"))
    away = problem_response(errors.Unavailable("p", "r"))
    assert unsigned.headers["www-authenticate"] == "Bearer"
    assert int(away.headers["retry-after"]) > 0
