"""A platform for benchmarks: a state folder of its own, the DAGs here beside the shipped ones."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from dataharbour.platform import launch
from dataharbour.platform.names import AIRFLOW_COMPONENTS
from dataharbour.platform.supervise import Supervisor
from dataharbour.testing.running_platform import RunningPlatform, running_platform

DAGS = Path(__file__).parent / "dags"
ROOT = Path(__file__).resolve().parents[2]


class BenchPlatform:
    """A running platform, with the DAGs of this folder, whose Airflow can be reconfigured."""

    def __init__(self, running: RunningPlatform) -> None:
        self.home = running.home
        self.environment = running.environment

    @property
    def pids(self) -> list[int]:
        """Every process of it, the supervisor included."""
        supervisor = int((self.home.run / "supervisor.pid").read_text())
        return [supervisor, *launch.marked(str(self.home.root))]

    def client(self) -> httpx.Client:
        """An HTTP client with the admin's token; paths are absolute."""
        token = self.environment["DATAHARBOUR_TOKEN"]
        return httpx.Client(
            base_url=self.environment["AIRFLOW_URL"],
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )

    def set_airflow(self, section: str, option: str, value: str) -> None:
        """Change airflow.cfg; `restart_airflow` puts it into effect."""
        file = self.home.airflow / "airflow.cfg"
        text = file.read_text()
        text = re.sub(rf"(?m)^{option} = .*\n", "", text)
        head = f"[{section}]\n"
        text = (
            text.replace(head, f"{head}{option} = {value}\n")
            if head in text
            else (f"{text}\n{head}{option} = {value}\n")
        )
        file.write_text(text)

    def restart_airflow(self, wanted_dag: str = "bench_empty") -> None:
        """Restart the four components and wait until they serve `wanted_dag`."""
        supervisor = Supervisor(self.home)
        supervisor.stop(AIRFLOW_COMPONENTS)
        for name in AIRFLOW_COMPONENTS:
            supervisor.start(name)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            time.sleep(0.5)
            try:
                with self.client() as api:
                    api.get("/execution/health")
                    if api.get(f"/api/v2/dags/{wanted_dag}").status_code == 200:
                        return
            except httpx.HTTPError:
                continue
        raise SystemExit(f"{wanted_dag} did not appear within 120 s")


@contextmanager
def bench_platform() -> Iterator[BenchPlatform]:
    """A platform that also serves the DAGs of this folder, gone afterwards."""
    bundles = [
        {
            "name": name,
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(path)},
        }
        for name, path in (("dags-folder", ROOT / "dags"), ("bench", DAGS))
    ]
    with running_platform() as running:
        platform = BenchPlatform(running)
        platform.set_airflow("dag_processor", "dag_bundle_config_list", json.dumps(bundles))
        platform.restart_airflow()
        yield platform
