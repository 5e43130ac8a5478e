"""The API keeps to its own OpenAPI document, whatever is sent; Schemathesis makes the requests."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import BaseModel
from schemathesis.checks import load_all_checks
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.config._checks import NegativeDataRejectionConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation

from dataharbour.api.answers import COMMON
from dataharbour.api.guard import OPEN_PATHS
from dataharbour.api.problems import status_of_kind
from dataharbour.api.routes.docs import schema_of

# Not `positive_data_acceptance`: a well-formed request may name a job or a file that is not there.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
)
OPERATORS = {"Authorization": "Bearer admin"}


@dataclass
class Found:
    """What the requests of one test have shown."""

    wrong: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, set[int]] = field(default_factory=dict)

    def report(self) -> str:
        return "\n\n".join(f"== {name}\n{what}" for name, what in self.wrong.items())


def operations(document: Mapping[str, Any]) -> Iterator[APIOperation]:
    """The operations of a document. What stands for every failure is read as what it names."""
    document = copy.deepcopy(dict(document))
    everywhere = {str(status_of_kind(kind)) for kind in COMMON} - {"500"}
    for methods in document["paths"].values():
        for operation in methods.values():
            default = operation["responses"].pop("default", None)
            for status in everywhere if default else ():
                operation["responses"].setdefault(status, default)
    generation = GenerationConfig(deterministic=True, with_security_parameters=False)
    refused = NegativeDataRejectionConfig(
        expected_statuses=[401, 403, 404, 405, 409, 412, 413, 415, 422, 428, 429]
    )
    project = ProjectConfig(
        generation=generation, checks=ChecksConfig(negative_data_rejection=refused)
    )
    config = SchemathesisConfig(projects=ProjectsConfig(default=project))
    for found in schemathesis.openapi.from_dict(document, config=config).get_all_operations():
        yield found.ok()


def send(
    document: Mapping[str, Any],
    url: str,
    *,
    headers: Mapping[str, str] = {},
    known: Mapping[str, str] = {},
    checks: Sequence[Callable] = (),
    examples: int,
) -> Found:
    """Send well-formed and ill-formed requests to every operation.

    Args:
        document: the OpenAPI document.
        url: of the API.
        headers: of every request.
        known: values of path parameters that lead somewhere.
        checks: besides `CHECKS`.
        examples: how many, per operation and kind.
    """
    load_all_checks()
    wanted = [*schemathesis.checks.CHECKS.get_by_names(list(CHECKS)), *checks]
    found = Found()

    def one(case) -> None:
        # Such an address does not match the mount, so it is Airflow that answers: 404.
        assume(not any("\n" in str(value) for value in case.path_parameters.values()))
        answer = case.call(base_url=url, headers=dict(headers), timeout=30)
        found.statuses.setdefault(case.operation.label, set()).add(answer.status_code)
        case.validate_response(answer, checks=wanted, headers=dict(headers))

    for operation in operations(document):
        names = {each.name for each in operation.path_parameters}
        fixed = {name: value for name, value in known.items() if name in names}
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            cases = operation.as_strategy(mode, path_parameters=fixed or None)

            tried = settings(
                max_examples=examples,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            )(given(case=cases)(one))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    tried()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, f"nothing was sent to {operation.label}"
            except (FailureGroup, AssertionError) as error:
                found.wrong[f"{operation.label}, {mode.value}"] = str(error)[:3000]
    return found


@pytest.fixture
def known(server, admin) -> dict[str, str]:
    """Path parameters that lead somewhere: a run that has ended, and a job."""
    run = admin.post("/api/v1/runs", json={"application": "hello.py", "backend": "local"}).json()
    admin.post(f"/api/v1/runs/{run['id']}:cancel")
    return {"run_id": run["id"], "name": "hello"}


def test_with_a_token_the_answers_are_as_documented(server, known):
    document = schema_of(server.app)
    there = send(document, server.url, headers=OPERATORS, known=known, examples=6)
    assert there.wrong == {}, there.report()
    assert there.statuses["GET /api/v1/runs/{run_id}"] & {200, 304}
    assert there.statuses["POST /api/v1/runs/{run_id}:retry"] & {200, 202}
    elsewhere = send(document, server.url, headers=OPERATORS, examples=3)
    assert elsewhere.wrong == {}, elsewhere.report()
    assert 404 in elsewhere.statuses["GET /api/v1/runs/{run_id}/logs"]


def test_without_a_token_every_request_is_turned_away(server, known):
    def turned_away(context, response, case):
        if case.path not in OPEN_PATHS and response.status_code != 401:
            raise AssertionError(f"{case.operation.label} answered {response.status_code}")

    found = send(schema_of(server.app), server.url, known=known, checks=[turned_away], examples=3)
    assert found.wrong == {}, found.report()
    assert server.airflow.runs.keys() == {("spark_job", next(iter(server.airflow.runs))[1])}


class Planted(BaseModel):
    number: int


def test_an_answer_that_is_not_as_documented_would_be_noticed(serve, settings, database):
    running = serve(settings, lambda: database)

    def crash(number: int = 0) -> Planted:
        return Planted(number=1 // number)

    def wrong_status(number: int = 0):
        from starlette.responses import JSONResponse

        return JSONResponse({"number": 1}, status_code=418)

    def wrong_body(number: int = 0):
        from starlette.responses import JSONResponse

        return JSONResponse({"number": "x"})

    for each in (crash, wrong_status, wrong_body):
        running.app.add_api_route(f"/{each.__name__}", each, response_model=Planted)
    with running as server:
        document = schema_of(server.app)
        planted = {
            path: methods
            for path, methods in document["paths"].items()
            if path in {"/crash", "/wrong_status", "/wrong_body"}
        }
        found = send({**document, "paths": planted}, server.url, headers=OPERATORS, examples=3)
    assert {name.partition(",")[0] for name in found.wrong} == {
        "GET /crash",
        "GET /wrong_status",
        "GET /wrong_body",
    }
