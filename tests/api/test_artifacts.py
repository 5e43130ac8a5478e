"""What a run's attempts have left, over REST."""

from __future__ import annotations

from uuid import uuid4

import pytest

from dataharbour.jobs.driver import artifacts
from dataharbour.jobs.model import Detail, RunRequest

NOTEBOOK = b'{"cells": []}'


@pytest.fixture
def attempts(server):
    """A run of a notebook with two attempts: its id and the folders of their artifacts."""
    runs, now = server.services.runs, server.services.now
    run = runs.open_run(
        RunRequest(application="report.ipynb"),
        application_sha256="0" * 64,
        dag_id="spark_job",
        dag_run_id=uuid4().hex,
        task_id="run",
        principal="ada",
        now=now(),
    )
    folders = []
    for _ in range(2):
        grant = runs.start_attempt(run.id, backend="connect", now=now())
        folders.append(server.services.settings.artifacts / str(grant.attempt_id))
        folders[-1].mkdir(parents=True)
        runs.give_up(run.id, now=now())
        runs.finish(run.id, detail=Detail.RETRY_WAIT, now=now())
    return str(run.id), folders


def test_the_executed_notebook_is_linked_listed_and_downloaded(admin, attempts):
    run_id, (first, second) = attempts
    artifacts.write(first, "notebook.ipynb", b"older")
    artifacts.write(second, "notebook.ipynb", NOTEBOOK)
    link = admin.get(f"/api/v1/runs/{run_id}").json()["links"]["artifacts"]
    assert link == f"/dataharbour/api/v1/runs/{run_id}/artifacts"
    items = admin.get(f"/api/v1/runs/{run_id}/artifacts").json()["items"]
    assert [(i["name"], i["attempt"], i["bytes"]) for i in items] == [
        ("notebook.ipynb", 2, len(NOTEBOOK)),
        ("notebook.ipynb", 1, 5),
    ]
    assert items[0]["links"]["self"] == f"{link}/notebook.ipynb?attempt=2"
    newest = admin.get(f"/api/v1/runs/{run_id}/artifacts/notebook.ipynb")
    assert newest.content == NOTEBOOK
    older = admin.get(f"/api/v1/runs/{run_id}/artifacts/notebook.ipynb?attempt=1")
    assert older.content == b"older"


def test_a_file_of_any_bytes_is_served_as_it_is(admin, attempts):
    run_id, (first, _) = attempts
    content = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    artifacts.write(first, "chart.png", content)
    answer = admin.get(f"/api/v1/runs/{run_id}/artifacts/chart.png")
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))


def test_a_browser_stores_it_and_runs_nothing_of_it(admin, attempts):
    run_id, (first, _) = attempts
    artifacts.write(first, "notebook.ipynb", NOTEBOOK)
    artifacts.write(first, "page.html", b"<script>")
    answer = admin.get(f"/api/v1/runs/{run_id}/artifacts/notebook.ipynb")
    assert answer.headers["content-type"] == "application/x-ipynb+json"
    assert answer.headers["content-disposition"] == 'attachment; filename="notebook.ipynb"'
    page = admin.get(f"/api/v1/runs/{run_id}/artifacts/page.html")
    assert page.headers["content-type"] == "application/octet-stream"
    for each in (answer, page):
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["content-security-policy"].startswith("sandbox")
        assert each.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name",
    ["nothing.ipynb", "..%2Fspec.json", "%2E%2E%2Fspec.json", ".hidden", "link", "a%00b"],
)
def test_what_is_no_artifact_is_404(admin, attempts, name):
    run_id, (first, _) = attempts
    artifacts.write(first, "notebook.ipynb", NOTEBOOK)
    (first.parent / "spec.json").write_text("secret")
    (first / "link").symlink_to(first.parent / "spec.json")
    answer = admin.get(f"/api/v1/runs/{run_id}/artifacts/{name}")
    assert answer.status_code in (404, 422)
    assert "secret" not in answer.text


def test_an_attempt_that_is_not_there_has_none(admin, attempts):
    run_id, (first, _) = attempts
    artifacts.write(first, "notebook.ipynb", NOTEBOOK)
    answer = admin.get(f"/api/v1/runs/{run_id}/artifacts/notebook.ipynb?attempt=7")
    assert (answer.status_code, answer.json()["code"]) == (404, "artifact-not-found")
    assert answer.json()["remedy"].endswith("They stay for 60 days after the run's end.")


def test_what_an_application_leaves_is_shown_only_once_it_is_cleaned(server, admin, attempts):
    run_id, (first, _) = attempts
    left = server.services.settings.runs / first.name / artifacts.FOLDER
    left.parent.mkdir(parents=True)
    artifacts.write(left, "notebook.ipynb", b"with a secret")
    assert admin.get(f"/api/v1/runs/{run_id}/artifacts").json()["items"] == []
    answer = admin.get(f"/api/v1/runs/{run_id}/artifacts/notebook.ipynb")
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["artifacts", "artifacts/notebook.ipynb"])
def test_somebody_elses_artifacts_look_like_a_run_that_is_not_there(server, attempts, path):
    run_id, (first, _) = attempts
    artifacts.write(first, "notebook.ipynb", NOTEBOOK)
    server.roles.hidden.add("spark_job")
    with server.client("op") as client:
        answer = client.get(f"/api/v1/runs/{run_id}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "run-not-found")


def test_a_run_of_another_application_has_no_link(admin, driver):
    assert "artifacts" not in admin.get(f"/api/v1/runs/{driver.run_id}").json()["links"]
    assert admin.get(f"/api/v1/runs/{driver.run_id}/artifacts").json()["items"] == []
