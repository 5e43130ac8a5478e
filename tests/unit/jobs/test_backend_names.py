"""One list of backends, wherever they are named."""

from __future__ import annotations

import json

import pytest

from dataharbour.errors import ConfigError
from dataharbour.hooks.backends import MAKERS, backend_of
from dataharbour.jobs.backends.names import ABOUT, BackendName
from dataharbour.packaged import read_packaged


def test_each_name_has_a_backend_that_bears_it():
    assert {name: maker().name for name, maker in MAKERS.items()} == {n: n for n in BackendName}


def test_people_are_told_about_each():
    assert set(ABOUT) == set(BackendName)


def test_job_files_may_choose_the_same():
    schema = json.loads(read_packaged("schemas/job.schema.json"))
    assert schema["properties"]["backend"]["enum"] == list(BackendName)


def test_an_unknown_backend_names_the_known_ones():
    with pytest.raises(ConfigError, match="no backend 'mesos'") as caught:
        backend_of("mesos")
    assert ", ".join(BackendName) in caught.value.remedy
