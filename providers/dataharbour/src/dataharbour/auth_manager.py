"""Airflow's users and rights, where starting any application takes the role op.

`[core] auth_manager` names the class. The API server imports it, and `airflow db migrate`.

Source: docs/decisions/0019-who-starts-any-application.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

from dataharbour.jobs.model import ONE_OFF_DAG


class OneOffRunsNeedOp(BaseAuthManager[Any]):
    """What an auth manager allows, less the runs of `spark_job` for those below the role op.

    Goes before the auth manager among the bases of a class. Op is who may change the
    configuration, which `POST runs` asks for, too.
    """

    def is_authorized_dag(
        self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None
    ) -> bool:
        """Whether `user` may do this with a DAG, or with a part of it: its runs, their tasks."""
        allowed = super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details
        )
        return bool(allowed) and self._is_strong_enough(user, method, access_entity, details)

    def batch_is_authorized_dag(self, requests: Sequence[Any], *, user: Any) -> bool:
        """Whether all of it is allowed; a manager may decide that without `is_authorized_dag`."""
        return bool(super().batch_is_authorized_dag(requests, user=user)) and all(
            self._is_strong_enough(
                user, request["method"], request.get("access_entity"), request.get("details")
            )
            for request in requests
        )

    def _is_strong_enough(self, user: Any, method: Any, access_entity: Any, details: Any) -> bool:
        # Requests about many DAGs name none here, and ask again for each of them.
        if method == "GET" or access_entity is None or details is None or details.id != ONE_OFF_DAG:
            return True
        return bool(self.is_authorized_configuration(method="PUT", user=user))


class DataHarbourAuthManager(OneOffRunsNeedOp, SimpleAuthManager):
    """Airflow's simple auth manager, its users, its roles and its login page."""
