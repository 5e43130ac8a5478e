"""A platform for benchmarks: a state folder of its own, the DAGs here beside the shipped ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dataharbour.platform import launch
from dataharbour.platform.layout import Home
from dataharbour.platform.names import AIRFLOW_COMPONENTS
from dataharbour.platform.supervise import Supervisor

DAGS = Path(__file__).parent / "dags"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class BenchPlatform:
    """A running platform and how to talk to it."""

    home: Home
    environment: dict[str, str]
    up_s: float

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


def harbour(home: Path, *arguments: str) -> str:
    """Run a verb; its standard output."""
    return subprocess.run(
        [sys.executable, "-m", "dataharbour.cli", *arguments],
        env={**os.environ, "HARBOUR_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout


@contextmanager
def running_platform() -> Iterator[BenchPlatform]:
    """A platform in a temporary folder, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="harbour-bench-"))
    folder.chmod(0o711)
    home = folder / "home"
    try:
        began = time.monotonic()
        harbour(home, "up", "--no-tour")
        up_s = time.monotonic() - began
        variables: dict[str, Any] = json.loads(harbour(home, "env", "-o", "json"))
        platform = BenchPlatform(Home(home), variables, up_s)
        bundles = [
            {
                "name": name,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(path)},
            }
            for name, path in (("dags-folder", ROOT / "dags"), ("bench", DAGS))
        ]
        platform.set_airflow("dag_processor", "dag_bundle_config_list", json.dumps(bundles))
        platform.restart_airflow()
        yield platform
    finally:
        harbour(home, "destroy", "--yes")
        folder.rmdir()
