"""The bodies of requests, as OpenAPI shows them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from dataharbour.api.schemas.values import Text, storable
from dataharbour.jobs.backends.names import BackendName, Profile
from dataharbour.jobs.placeholders import MAX_ARGS_BYTES

# The limits of include/schemas/job.schema.json, for what has no file.
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
LabelValue = Annotated[Text, StringConstraints(max_length=200)]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=20)]
Argument = Annotated[Text, StringConstraints(max_length=MAX_ARGS_BYTES)]


class _Closed(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class StartJob(_Closed):
    """Start a run of a declared job."""

    params: Annotated[dict[str, Any], AfterValidator(storable)] = Field(
        default_factory=dict, description="Values of the job's own parameters."
    )
    labels: Labels = Field(default_factory=dict)


class StartRun(_Closed):
    """Start a run of any application below an allowed root."""

    application: Annotated[Text, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="A file name below an allowed root, or a path or file URI inside one.",
        examples=["flights_delays.py"],
    )
    args: Annotated[list[Argument], Field(max_length=100)] = Field(
        default_factory=list,
        description="May hold {lake} and {output}. At most 64 KiB together.",
    )
    conf: Annotated[dict[Text, str | bool | int | float], AfterValidator(storable)] = Field(
        default_factory=dict,
        description="Spark settings; which ones, the documentation lists.",
        examples=[{"spark.sql.shuffle.partitions": "8"}],
    )
    backend: BackendName = BackendName.CONNECT
    profile: Profile = Field(
        default=Profile.SHORT,
        description="How a Spark that starts for the run is tuned: `short` starts fastest, "
        "`standard` runs fastest.",
    )
    labels: Labels = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(gt=0, le=7 * 86_400)] | None = Field(
        default=None, description="Seconds of user code; none: no limit."
    )


class CancelRun(_Closed):
    """How a run is cancelled."""

    grace_s: Annotated[float, Field(ge=0, le=600)] | None = Field(
        default=None,
        description="Seconds that the application gets from SIGTERM to SIGKILL; none: 5.",
    )
