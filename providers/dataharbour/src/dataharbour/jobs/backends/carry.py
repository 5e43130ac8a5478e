"""Pack an attempt for a driver that cannot read this machine's files (`driver.carried`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataharbour.errors import ConfigError
from dataharbour.jobs.backends.launch import LaunchContext
from dataharbour.jobs.backends.start import application_variables, secrets_of
from dataharbour.jobs.driver.carried import Carried, TooLarge


def packed(
    context: LaunchContext,
    *,
    environment: Mapping[str, str] | None = None,
    unset: Sequence[str] = (),
    app_prefix: str = "",
) -> dict[str, str]:
    """The variables that carry the attempt of `context`.

    The lake's keys are not among them, not even to be hidden: the driver hides those that it
    finds where it runs.

    Args:
        context: the attempt.
        environment: more variables of the application.
        unset: variables that it shall not have; see `Carried`.
        app_prefix: how the id of its Spark application must begin.

    Raises:
        ConfigError: the application cannot be read, or is too large to travel.
    """
    application, grant = context.application, context.grant
    try:
        source = application.path.read_bytes()
        return Carried(
            conninfo=context.driver_conninfo,
            run_id=str(grant.run_id),
            attempt_id=str(grant.attempt_id),
            ticket=grant.token,
            application=application.path.name,
            sha256=application.sha256,  # the driver checks it, as everywhere
            source=source,
            args=list(context.request.args),
            environment={**application_variables(context), **(environment or {})},
            unset=list(unset),
            timeout_s=context.request.timeout_s,
            secrets=secrets_of(context),
            app_prefix=app_prefix,
        ).pack()
    except OSError as error:
        raise ConfigError(
            f"The application {application.path} cannot be read: {error.strerror}.",
            "Let the user of Airflow's workers read it.",
        ) from error
    except TooLarge as error:
        raise ConfigError(
            f"{error}.",
            "Pass data by files in the lake instead, or run the job on the backend local.",
        ) from None
