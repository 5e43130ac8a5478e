from __future__ import annotations

import pytest

from dataharbour.platform.airflow_config import pools


@pytest.mark.parametrize("cores", [1, 16])
def test_drivers_take_a_slot_per_core_also_while_their_task_is_deferred(cores):
    found = {pool["name"]: (pool["slots"], pool["include_deferred"]) for pool in pools(cores)}
    assert found == {
        "spark_drivers": (cores, True),
        "dags_test": (0, False),  # the scheduler takes nothing from it
        "backup": (1, True),
    }
