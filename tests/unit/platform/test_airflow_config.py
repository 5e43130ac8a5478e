"""What the rendered airflow.cfg says of DataHarbour, as its settings are read from it."""

from __future__ import annotations

from pathlib import Path

from dataharbour import settings
from dataharbour.platform import airflow_config
from dataharbour.platform.credentials import Credentials
from dataharbour.platform.layout import Checkout, Home
from dataharbour.platform.plan import Plan
from dataharbour.platform.ports import PREFERRED


def test_applications_lie_in_the_checkout_and_in_the_state_folder(tmp_path):
    plan = Plan(Checkout(Path("/checkout")), Home(tmp_path), PREFERRED, Credentials(), "", "/java")
    (tmp_path / "airflow.cfg").write_text(airflow_config.render(plan, parallelism=4))
    found = settings.load(
        {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__DATAHARBOUR__LAKE": "file:///l"}
    )
    assert found.applications == (Path("/checkout/spark_jobs"), tmp_path / "applications")
