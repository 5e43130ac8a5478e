from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from dataharbour import jobs
from dataharbour.jobs.statements import statement

FILES = sorted((Path(__file__).parents[3] / "include" / "sql" / "jobs").glob("*.sql"))


def test_every_statement_is_used_and_every_one_that_is_used_exists():
    modules = Path(jobs.__path__[0]).glob("*.py")
    used = {name for m in modules for name in re.findall(r'statement\("(\w+)"\)', m.read_text())}
    assert used == {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_statement_fits_the_schema(database, file):
    text = statement(file.stem)
    assert text.startswith("-- "), "it says first what its result is"
    names = set(re.findall(r"%\((\w+)\)s", text))
    with psycopg.connect(database) as connection:
        connection.execute(text, dict.fromkeys(names))
