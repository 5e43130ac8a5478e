from __future__ import annotations

import pytest

from dataharbour.platform.connect_limits import changed, default_limits, read_limits
from dataharbour.platform.connect_pages import Sessions, read_sessions
from dataharbour.platform.layout import Home


def test_a_file_changes_single_limits():
    limits = changed(default_limits(1024), "# smaller\nsessions: 50\nage_h: 12 # half a day\n")
    assert (limits.sessions, limits.age_s) == (50, 43_200)
    assert limits.memory_bytes == (1024 + 700) * 2**20


@pytest.mark.parametrize("text", ["sesions: 5", "sessions: many", "drain_h: -1", "sessions"])
def test_a_file_that_is_wrong_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        changed(default_limits(1024), text)


def test_a_wrong_file_is_told_and_the_defaults_hold(tmp_path):
    home, said = Home(tmp_path), []
    home.config.mkdir()
    defaults = read_limits(home, say=said.append)
    (home.config / "spark_servers.yaml").write_text("limit: 1")
    assert read_limits(home, say=said.append) == defaults
    assert "'limit' is none of memory_mb, sessions" in said[0]


def test_the_figures_of_the_page():
    page = "<h4>\n 2\n session(s) are online,\n running\n 1\n Request(s)\n</h4>"
    assert read_sessions(page) == Sessions(open=2, running=1, served=0)
    assert read_sessions(page + "<a>Session Statistics (14)</a>").served == 14


def test_another_page_is_refused():
    with pytest.raises(ValueError, match="no figures"):
        read_sessions("<html>Spark</html>")


@pytest.mark.parametrize("content", [b"memory_mb: inf", b"age_h: nan", b"memory_mb: \xff1"])
def test_no_content_of_the_file_ends_the_keeper(tmp_path, content):
    home, said = Home(tmp_path), []
    home.config.mkdir()
    defaults = read_limits(home, say=said.append)
    (home.config / "spark_servers.yaml").write_bytes(content)
    assert read_limits(home, say=said.append) == defaults
    assert len(said) == 1
