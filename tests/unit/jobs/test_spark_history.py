"""How the history server is asked, and how its answers are read; no Spark here."""

from __future__ import annotations

import base64

import jwt
import pytest

from dataharbour.errors import ConfigError, Unavailable
from dataharbour.jobs.backends.master import ClusterEndpoint
from dataharbour.jobs.spark_history import Answer, SparkHistory
from dataharbour.testing.spark_pages import SparkPages

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@pytest.fixture
def pages():
    with SparkPages() as running:
        yield running


def history(url: str | None, **options) -> SparkHistory:
    endpoint = ClusterEndpoint("spark://m:7077", (), history_url=url, key=KEY)
    return SparkHistory(endpoint, timeout_s=2, **options)


def test_a_request_is_signed_for_a_minute_and_says_where_its_reader_is(pages):
    answer = history(pages.url, clock=lambda: 1_000.7).get("api/v1/version?x=1", below="/a/b")
    assert (answer.status, answer.body) == (200, b"hello")
    [asked] = pages.asked
    assert asked.path == "/api/v1/version?x=1"
    assert asked.headers["x-forwarded-context"] == "/a/b"
    token = asked.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, b"k" * 32, ["HS256"], options={"verify_exp": False})
    assert claims["exp"] == 1_060


def test_an_application_tells_for_which_run_it_was_started(pages):
    pages.runs = {"local-1": "the-run", "local-2": None}
    asked = history(pages.url)
    assert [asked.run_of(f"local-{n}") for n in (1, 2, 3)] == ["the-run", None, None]


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"[]", b"{}", b'{"sparkProperties": 7}', b'{"sparkProperties": [[1]]}',
     b'{"sparkProperties": [["spark.dataharbour.run", ["x"]]]}'],
)  # fmt: skip
def test_what_is_no_environment_names_no_run(pages, monkeypatch, body):
    asked = history(pages.url)
    monkeypatch.setattr(asked, "get", lambda _: Answer(200, {}, body))
    assert asked.run_of("local-1") is None


def test_a_key_that_it_does_not_take_is_told(pages):
    pages.status = 403
    with pytest.raises(ConfigError, match="does not take our key"):
        history(pages.url).get("")


def test_one_that_is_away_or_is_no_server_is_unavailable():
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 does not answer"):
        history("http://127.0.0.1:1").get("")


def test_a_cluster_without_one_says_how_to_have_one():
    with pytest.raises(ConfigError) as caught:
        history(None).get("")
    assert "history_url" in caught.value.remedy
