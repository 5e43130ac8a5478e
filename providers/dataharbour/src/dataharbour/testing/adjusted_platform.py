"""A platform whose Airflow is set up otherwise: more DAG files, other options."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from dataharbour.platform import launch
from dataharbour.platform.names import AIRFLOW_COMPONENTS
from dataharbour.platform.supervise import Supervisor
from dataharbour.testing.running_platform import RunningPlatform, running_platform

Options = Mapping[tuple[str, str], str]  # (section, option) -> value


class AdjustedPlatform(RunningPlatform):
    """A running platform whose Airflow can be reconfigured and restarted."""

    @property
    def pids(self) -> list[int]:
        """Every process of it, the supervisor included."""
        supervisor = int((self.home.run / "supervisor.pid").read_text())
        return [supervisor, *launch.marked(str(self.home.root))]

    def client(self) -> httpx.Client:
        """An HTTP client with the admin's token; paths are absolute."""
        return httpx.Client(
            base_url=self.airflow_url,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=60,
            trust_env=False,
        )

    def set_airflow(self, section: str, option: str, value: str) -> None:
        """Change airflow.cfg; `restart_airflow` puts it into effect."""
        file = self.home.airflow / "airflow.cfg"
        text = re.sub(rf"(?m)^{option} = .*\n", "", file.read_text())
        head = f"[{section}]\n"
        if head in text:
            text = text.replace(head, f"{head}{option} = {value}\n")
        else:
            text = f"{text}\n{head}{option} = {value}\n"
        file.write_text(text)

    def restart_airflow(self, wanted_dag: str) -> None:
        """Restart the four components and wait until they serve `wanted_dag`.

        Raises:
            TimeoutError: that took over two minutes.
        """
        supervisor = Supervisor(self.home)
        supervisor.stop(AIRFLOW_COMPONENTS)
        for name in AIRFLOW_COMPONENTS:
            supervisor.start(name)
        self.wait_for_dag(wanted_dag)

    def wait_for_dag(self, wanted_dag: str) -> None:
        """Until Airflow serves a DAG, and answers its workers.

        Raises:
            TimeoutError: that took over two minutes.
        """
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
        raise TimeoutError(f"{wanted_dag} did not appear within 120 s")


@contextmanager
def adjusted_platform(
    checkout: Path, *, dags: Path, wanted_dag: str, options: Options | None = None
) -> Iterator[AdjustedPlatform]:
    """A platform that also serves the DAG files of a folder, gone afterwards.

    Args:
        checkout: the checkout, whose DAG files are served as well.
        dags: the folder.
        wanted_dag: a DAG that is there once all is read.
        options: of airflow.cfg, beside those of the platform.
    """
    bundles = [
        {
            "name": name,
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(path)},
        }
        for name, path in (("dags-folder", checkout / "dags"), ("more", dags))
    ]
    with running_platform() as running:
        platform = AdjustedPlatform(running.home, running.environment)
        platform.set_airflow("dag_processor", "dag_bundle_config_list", json.dumps(bundles))
        for (section, option), value in (options or {}).items():
            platform.set_airflow(section, option, value)
        platform.restart_airflow(wanted_dag)
        yield platform
