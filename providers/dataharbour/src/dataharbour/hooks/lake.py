"""Turn the setting ``[dataharbour] lake`` and the connection ``dataharbour_lake`` into access."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from dataharbour import settings

if TYPE_CHECKING:
    from dataharbour.jobs.lake import LakeEndpoint


class LakeHook(S3Hook):
    """Gives the lake: a bucket (``s3a://…``) or a folder (``file:///…``).

    Args:
        aws_conn_id: an Airflow connection of type ``aws``, asked only for a
            bucket. Of its extras only `endpoint_url` and `region_name` are read;
            all others are ignored.
    """

    default_conn_name = "dataharbour_lake"
    conn_type = "dataharbour_lake"  # a form of its own; the plain type works as well
    hook_name = "DataHarbour lake"

    def __init__(self, aws_conn_id: str = default_conn_name) -> None:
        super().__init__(aws_conn_id=aws_conn_id)

    def endpoint(self) -> LakeEndpoint:
        """Where the lake is, with the keys to it."""
        from dataharbour.jobs.lake import LakeEndpoint

        uri = settings.load().lake
        if uri.startswith("file:"):
            return LakeEndpoint(uri)
        conn = self.get_connection(self.aws_conn_id)
        extra = conn.extra_dejson
        return LakeEndpoint(
            uri,
            endpoint_url=extra.get("endpoint_url"),
            region=extra.get("region_name"),
            access_key=conn.login,
            secret_key=conn.password,
        )
