"""The process of a suite: started early, asked once, never trusted to answer."""

import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataharbour.errors import ConfigError, QualityUnchecked
from dataharbour.quality.process import QualityProcess

SUITE = """
name: s
tables: {t: {expectations: [{type: expect_table_row_count_to_equal, kwargs: {value: 3}}]}}
"""


@pytest.fixture
def request_(tmp_path):
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations" / "s.yaml").write_text(SUITE)
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"n": [1, 2, 3]}), tmp_path / "t" / "part-0.parquet")
    return {"root": tmp_path.as_uri(), "include_dir": tmp_path}


def test_a_process_started_early_answers_and_leaves(request_):
    with QualityProcess.start(environ={}) as process:
        report = process.evaluate("s", **request_)
    assert report.ok


def test_an_error_of_the_suite_comes_back_as_itself(request_):
    with (
        QualityProcess.start(environ={}) as process,
        pytest.raises(ConfigError, match="Suite other: There is no expectations suite 'other'"),
    ):
        process.evaluate("other", **request_)


def test_a_suite_that_takes_too_long_is_ended(request_):
    with QualityProcess.start(environ={}) as process:
        with pytest.raises(QualityUnchecked, match=r"no verdict within 0\.1 s"):
            process.evaluate("s", timeout_s=0.1, **request_)
        pid = process.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_process_is_no_verdict(request_):
    with QualityProcess.start(environ={}) as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(QualityUnchecked, match="exit code -9"):
            process.evaluate("s", **request_)


def test_a_process_that_breaks_says_why(request_):
    with (
        QualityProcess.start(environ={"PYTHONPATH": "", "PYTHONHOME": "/nowhere"}) as process,
        pytest.raises(QualityUnchecked, match="died with exit code 1: "),
    ):
        process.evaluate("s", **request_)


def test_the_storage_key_is_not_in_the_arguments(request_):
    secret = "s3-secret-of-the-test"
    with QualityProcess.start(environ={"AWS_SECRET_ACCESS_KEY": secret}) as process:
        proc = Path(f"/proc/{process.pid}")
        while not (environ := proc.joinpath("environ").read_text()):
            time.sleep(0.01)  # it is just becoming the new program
        assert secret in environ
        assert secret not in proc.joinpath("cmdline").read_text()


def test_a_process_nobody_asks_is_gone_with_its_owner(request_):
    with QualityProcess.start(environ={}) as process:
        pid = process.pid
    assert not Path(f"/proc/{pid}").exists()
