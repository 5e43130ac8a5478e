"""A person signs in by the link of `harbour open` and starts a run by Airflow's trigger form."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import httpx
import pytest

from dataharbour.platform.sign_in import make_link

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt install chromium)"),
    # Playwright's own event loop, left open when its thread ends
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def page(platform) -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.set_default_timeout(60_000)
        tab.goto(make_link(platform.home))
        yield tab
        browser.close()


def runs(platform, **params) -> list[dict]:
    answer = httpx.get(
        f"{platform.url}/api/v1/runs",
        params=params,
        headers={"Authorization": f"Bearer {platform.token}"},
        trust_env=False,
    )
    return answer.raise_for_status().json()["items"]


def until_ended(platform, known: set[str], timeout_s: float = 240.0) -> dict:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        new = [r for r in runs(platform, job="flights_delays") if r["id"] not in known]
        if new and new[0]["state"] not in ("QUEUED", "RUNNING"):
            return new[0]
        time.sleep(1)
    raise AssertionError(f"no new run ended: {runs(platform, job='flights_delays')}")


def test_the_link_signs_in(platform, page):
    page.get_by_role("link", name="Dags").first.wait_for()
    assert page.url.startswith(platform.airflow_url)
    assert "/auth/login" not in page.url


def test_the_form_of_the_declared_job_starts_a_run(platform, page):
    known = {run["id"] for run in runs(platform, job="flights_delays")}
    page.goto(f"{platform.airflow_url}/dags/job__flights_delays")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
    run = until_ended(platform, known)
    assert run["state"] == "SUCCEEDED", run["failure"]
    assert run["dag_id"] == "job__flights_delays"


def test_the_form_of_a_single_application_asks_for_what_it_needs(platform, page):
    page.goto(f"{platform.airflow_url}/dags/spark_job")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_placeholder("Start typing to see options").first.wait_for()
    for label in ("Arguments", "Spark settings"):
        dialog.get_by_text(label, exact=True).first.wait_for()
    assert dialog.get_by_text("This field is required").first.is_visible()


def test_the_api_pages_work_without_the_internet(platform, page):
    foreign = []
    page.on(
        "response",  # what the page's policy holds back is asked for, and never answered
        lambda response: (
            foreign.append(response.url)
            if not response.url.startswith((platform.airflow_url, "data:", "blob:"))
            else None
        ),
    )
    page.goto(f"{platform.url}/docs")
    page.get_by_text("/api/v1/jobs/{name}/runs").first.wait_for()
    page.goto(f"{platform.url}/redoc")
    page.get_by_role("heading", name="DataHarbour").first.wait_for()
    assert foreign == []
