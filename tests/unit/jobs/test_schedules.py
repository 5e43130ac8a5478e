"""What a job file says of its schedule: which of it goes together, and what is refused."""

from __future__ import annotations

import textwrap

import pytest

from dataharbour.jobs.declared import load_jobs
from dataharbour.jobs.schedules import schedule_of


@pytest.fixture
def declared(tmp_path):
    """Declares the job `delays` with these lines; what is loaded."""

    def declare(lines: str):
        text = "description: Delays.\napplication: delays.py\n" + textwrap.dedent(lines)
        (tmp_path / "delays.yaml").write_text(text)
        return load_jobs(tmp_path)

    return declare


@pytest.mark.parametrize(
    "lines",
    [
        'schedule: "0 2 * * *"',
        'schedule: {cron: "@daily", data_interval: true}',
        "schedule: {assets: [silver/flights]}",
        "schedule: {assets: [silver/flights, 's3://lake/raw', tariffs], when: any}",
        'schedule: {assets: [silver/flights], cron: "@weekly"}',
        'schedule: {cron: "@daily", partition_key: "%Y-%m-%d", partition_offset: -1}',
        "schedule: {assets: [silver/flights], partition_by: day}",
        'schedule: "@daily"\nstart: 2026-01-01\nend: 2026-02-01T06:00\ncatchup: true',
        'schedule: "@daily"\nargs: ["{logical_date:%Y-%m-%d}", "{data_interval_end}"]',
        'schedule: {assets: [a/b], partition_by: same}\nargs: ["{partition_key}"]',
        'schedule: {assets: [a/b]}\nargs: ["{logical_date|today}"]',
        'args: ["{logical_date}", "{partition_key}"]',
    ],
)
def test_schedules_that_can_be(declared, lines):
    found = declared(lines)
    assert found.errors == {}
    assert found.jobs


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("schedule: {}", "schedule"),
        ('schedule: {cron: "@daily", often: true}', "often"),
        ("schedule: {when: any}", "needs cron, assets or both"),
        ("schedule: {assets: []}", "schedule.assets"),
        ('schedule: {cron: "99 99 * * *"}', "is no cron expression"),
        ('schedule: {cron: "@daily", when: any}', "when needs assets"),
        ("schedule: {assets: [a/b], data_interval: true}", "data_interval needs cron"),
        ("schedule: {assets: [a/b], partition_key: '%Y'}", "partition_key needs cron"),
        ('schedule: {cron: "@daily", partition_by: day}', "partition_by needs assets"),
        ('schedule: {cron: "@daily", partition_offset: 1}', "partition_offset needs"),
        (
            'schedule: {cron: "@daily", partition_key: "%Y", data_interval: true}',
            "partition_key has no data_interval",
        ),
        ('schedule: "@daily"\ncatchup: true', "catchup: needs a start"),
        ("start: 2026-01-01", "start: needs a schedule with cron"),
        ("schedule: {assets: [a/b]}\nend: 2026-01-01", "end: needs a schedule with cron"),
        ('schedule: "@daily"\nstart: "2026-02-30"', "start: '2026-02-30'"),
        ('schedule: "@daily"\nstart: soon', "start"),
        ('schedule: "@daily"\nstart: 2026-02-01\nend: 2026-01-01', "end: is before start"),
        (
            'schedule: {assets: [a/b]}\nargs: ["{logical_date}"]',
            "{logical_date} has no value in the runs of this schedule",
        ),
        ('schedule: "@daily"\nargs: ["{partition_key}"]', "{partition_key} has no value"),
        ('schedule: "@daily"\nargs: ["{logical_date:%Q}"]', "in a form that cannot be given"),
        ("retry_on: [QUALITY]", "retry_on"),
        ("retry_delay_s: {QUALITY: 3}", "retry_delay_s"),
        ("retry_delay_s: {INFRA: -1}", "retry_delay_s.INFRA"),
        ("on_busy: hope", "on_busy"),
        ("deadline: {of: queued}", "deadline"),
        ("deadline: {within_s: 0}", "deadline.within_s"),
    ],
)
def test_what_cannot_be_is_refused_and_said(declared, lines, problem):
    found = declared(lines)
    assert not found.jobs
    assert problem in found.errors["delays"].problem


def test_the_short_form_is_the_long_one():
    assert schedule_of("@daily") == schedule_of({"cron": "@daily"})
    assert schedule_of(None) is None
