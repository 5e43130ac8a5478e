"""Spark's pages of a run's application: whose, where, and what of them reaches a browser."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from dataharbour.jobs.backends.master import ClusterEndpoint
from dataharbour.testing.spark_pages import SparkPages

MINE, OTHER = "local-1795583056123", "app-20261125044643-0001"
POLICY = "default-src 'self'; script-src 'self' 'nonce-x'"


@pytest.fixture
def run_id(driver):
    driver.progress(application=MINE)
    return driver.run_id


@pytest.fixture
def pages(server, run_id):
    with SparkPages() as running:
        server.cluster = ClusterEndpoint("spark://m:7077", (), history_url=running.url)
        running.runs = {MINE: run_id, OTHER: str(uuid4())}
        yield running


def keep_log(server, application: str) -> None:
    (server.services.settings.event_logs / f"eventlog_v2_{application}").mkdir(parents=True)


def history_url(admin, run_id: str) -> str | None:
    [attempt] = admin.get(f"/api/v1/runs/{run_id}/attempts").json()["items"]
    return attempt["history_url"]


def test_an_attempt_links_to_its_pages_once_its_log_is_there(server, admin, run_id):
    assert history_url(admin, run_id) is None
    keep_log(server, OTHER)
    assert history_url(admin, run_id) is None
    keep_log(server, MINE)
    here = f"/dataharbour/api/v1/runs/{run_id}/spark"
    assert history_url(admin, run_id) == f"{here}/history/{MINE}/jobs/"


def test_the_link_leads_to_the_history_server(server, admin, pages, run_id):
    keep_log(server, MINE)
    pages.headers = {"Content-Type": "text/html;charset=utf-8", "Content-Security-Policy": POLICY}
    link = history_url(admin, run_id)
    answer = admin.get(f"{link.removeprefix('/dataharbour')}?id=3&x=a%20b")
    assert (answer.status_code, answer.text) == (200, "hello")
    assert answer.headers["content-type"] == "text/html;charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    [asked] = pages.asked
    assert asked.path == f"/history/{MINE}/jobs/?id=3&x=a%20b"
    assert asked.headers["x-forwarded-context"] == f"/dataharbour/api/v1/runs/{run_id}/spark"
    assert "bearer admin" not in asked.headers.get("authorization", "").lower()
    assert "cookie" not in asked.headers


@pytest.mark.parametrize(
    "path",
    [
        f"history/{MINE}/SQL/execution/",
        f"history/{MINE}",
        f"api/v1/applications/{MINE}/allexecutors",
        "static/webui.css",
        "static/dataTables.1.13.11.min.js",
    ],
)
def test_its_other_pages_and_what_they_need_are_shown(admin, pages, run_id, path):
    assert admin.get(f"/api/v1/runs/{run_id}/spark/{path}").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "",
        "history",
        f"history/{OTHER}/jobs/",
        f"api/v1/applications/{OTHER}/jobs",
        "api/v1/applications",
        f"history/{MINE}/../{OTHER}/jobs/",
        f"history/{MINE}/..%2F{OTHER}/jobs/",
        f"history/{MINE}/%2e%2e/{OTHER}/jobs/",
        f"static/../history/{OTHER}/jobs/",
        f"static/%2e%2e/history/{OTHER}/jobs/",
        f"history/{MINE}/jobs/%0d%0aX:y",
        f"history/{MINE}/a%3Fb",
    ],
)
def test_pages_of_other_applications_are_not_there(admin, pages, run_id, path):
    address = f"{admin.base_url}api/v1/runs/{run_id}/spark/{path}"
    request = admin.build_request("GET", "/")
    request.url = httpx.URL(address).copy_with(
        raw_path=f"/dataharbour/api/v1/runs/{run_id}/spark/{path}".encode()
    )
    assert admin.send(request).status_code == 404
    assert pages.asked == []


PAGES_OF = ["history/{}/jobs/", "history/{}", "api/v1/applications/{}/jobs"]


@pytest.mark.parametrize("page", PAGES_OF)
def test_a_driver_that_names_the_application_of_another_run_opens_none_of_its_pages(
    admin, pages, driver, page
):
    driver.progress(application=OTHER)
    answer = admin.get(f"/api/v1/runs/{driver.run_id}/spark/{page.format(OTHER)}")
    assert (answer.status_code, answer.json()["code"]) == (404, "artifact-not-found")
    assert pages.looked_at == [OTHER]
    assert pages.asked == [], "nothing was read of it"


@pytest.mark.parametrize("named", [None, "", "not a run"])
def test_an_application_that_was_started_for_no_run_is_nobodys(admin, pages, run_id, named):
    pages.runs[MINE] = named
    answer = admin.get(f"/api/v1/runs/{run_id}/spark/history/{MINE}/jobs/")
    assert answer.status_code == 404
    assert pages.asked == []


def test_pages_are_there_once_the_history_server_knows_the_application(admin, pages, run_id):
    address = f"/api/v1/runs/{run_id}/spark/history/{MINE}/jobs/"
    del pages.runs[MINE]
    assert admin.get(address).status_code == 404
    pages.runs[MINE] = run_id
    assert admin.get(address).status_code == 200


def test_what_is_shown_under_an_id_is_asked_anew_for_each_page(admin, pages, run_id):
    """A job can write an event log that says the id of another's application."""
    address = f"/api/v1/runs/{run_id}/spark/history/{MINE}/jobs/"
    assert admin.get(address).status_code == 200
    pages.runs[MINE] = str(uuid4())
    assert admin.get(address).status_code == 404


def test_what_the_pages_need_is_nobodys_and_read_at_once(admin, pages, run_id):
    assert admin.get(f"/api/v1/runs/{run_id}/spark/static/webui.css").status_code == 200
    assert pages.looked_at == []


def test_what_a_driver_tells_as_its_id_opens_no_other_path(admin, pages, driver):
    driver.progress(application="../api")
    assert admin.get(f"/api/v1/runs/{driver.run_id}/spark/history/api/x").status_code == 404


def test_a_run_that_one_may_not_see_has_no_pages(server, pages, run_id):
    server.roles.hidden.add("spark_job")
    with server.client("viewer") as viewer:
        answer = viewer.get(f"/api/v1/runs/{run_id}/spark/history/{MINE}/jobs/")
    assert (answer.status_code, answer.json()["code"]) == (404, "run-not-found")
    assert pages.asked == []


def test_who_may_not_read_what_the_run_wrote_has_no_pages(server, admin, pages, run_id):
    server.roles.lacking = {("GET", "TASK_LOGS")}
    answer = admin.get(f"/api/v1/runs/{run_id}/spark/history/{MINE}/jobs/")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert pages.asked == []


def test_pages_are_read_and_nothing_else(admin, pages, run_id):
    answer = admin.post(f"/api/v1/runs/{run_id}/spark/history/{MINE}/jobs/job/kill/")
    assert answer.status_code == 405
    assert pages.asked == []


def test_what_comes_without_a_policy_runs_no_script_and_sets_no_cookie(admin, pages, run_id):
    pages.headers = {"Content-Type": "text/html", "Set-Cookie": "a=b"}
    answer = admin.get(f"/api/v1/runs/{run_id}/spark/history/{MINE}/jobs/")
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "told", ["{url}/history/{app}/jobs/?a=1", "{here}/history/{app}/jobs/?a=1"]
)
def test_a_redirect_stays_below_the_run(admin, pages, run_id, told):
    here = f"/dataharbour/api/v1/runs/{run_id}/spark"
    pages.status = 302
    pages.headers = {"Location": told.format(url=pages.url, here=here, app=MINE)}
    answer = admin.get(f"/api/v1/runs/{run_id}/spark/history/{MINE}/")
    assert answer.status_code == 302
    assert answer.headers["location"] == f"{here}/history/{MINE}/jobs/?a=1"


def test_without_a_cluster_the_way_to_one_is_told(admin, run_id):
    answer = admin.get(f"/api/v1/runs/{run_id}/spark/history/{MINE}/jobs/")
    assert (answer.status_code, answer.json()["code"]) == (503, "not-configured")
    assert "harbour up --cluster" in answer.json()["remedy"]


def test_a_history_server_that_is_away_is_told(server, admin, run_id):
    server.cluster = ClusterEndpoint("spark://m:7077", (), history_url="http://127.0.0.1:1")
    answer = admin.get(f"/api/v1/runs/{run_id}/spark/history/{MINE}/jobs/")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
