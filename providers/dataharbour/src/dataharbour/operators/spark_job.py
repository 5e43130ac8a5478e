"""Run a Spark job as a task: submit it, wait a little, then defer.

Thin: the sequence is `jobs.execute`, the waiting (`jobs.follow`, the trigger), `jobs.conclude`.
Imports of that path are in the functions: DAG files are parsed without them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from dataharbour.errors import (
    ApplicationNotAllowed,
    ConfigError,
    JobBusy,
    JobFailed,
    NotFound,
)
from dataharbour.jobs.backends.names import Profile
from dataharbour.jobs.model import AttemptState, Detail, FailureClass, Output, Run, RunRequest
from dataharbour.links.run import RunLink, RunLogLink, SparkHistoryLink, SparkUiLink
from dataharbour.operators.failures import (
    ATTEMPT_FAILED,
    RunFailed,
    check_retries,
    retry_policy,
)
from dataharbour.operators.submit_arguments import (
    labels_with_name,
    literal_args,
    take_submit_arguments,
    with_submit_arguments,
)
from dataharbour.operators.tables import asset_of, published_lines, table_asset, tell_assets

if TYPE_CHECKING:
    from airflow.sdk import Context

    from dataharbour.jobs.caller import Caller
    from dataharbour.jobs.conclude import Conclusion
    from dataharbour.jobs.finalize import Gate
    from dataharbour.jobs.follow import LogTail
    from dataharbour.jobs.outcomes import Outcome, Patience
    from dataharbour.jobs.site import Site

IN_PLACE_S = 20.0  # a deferral costs about 3 s in Airflow 3.3: too much for a short job
PICK_UPS = 2  # tries beyond `retries`, for a task whose worker was killed

_FINAL = (ConfigError, NotFound, ApplicationNotAllowed, JobFailed)


class SparkJobOperator(BaseOperator):
    """Runs a Spark application and publishes what it wrote.

    What runs is the declared `job`, or `application`; with neither, the run's
    params say it (DAG `spark_job`).

    A try whose worker was killed is taken up by the next: a driver that still
    lives is adopted, outputs that are staged are published, and the user's code
    starts no more than ``retries + 1`` times. `PICK_UPS` tries more serve that.

    Takes the arguments of the Spark provider's `SparkSubmitOperator` as well: each is
    translated, ignored or refused (`submit_arguments`). With one of them given, and no
    `backend`, the connection `conn_id` (``spark_default``) chooses the backend.

    Args:
        job: name of a declared job.
        application: a Python file below the allowed folders. (templated)
        args: its arguments, with the placeholders of `jobs.placeholders` (``{lake}``,
            ``{output}``, ``{logical_date}``, …); at most 64 KiB together. (templated)
        conf: Spark settings from the allow-list. (templated)
        backend: where it runs, one of `BackendName`; None: ``connect``.
        labels: names and values to find the run by. (templated)
        timeout_s: seconds of user code; None for no limit.
        profile: how a Spark that starts for the run is tuned, one of `Profile`: ``short``
            starts fastest, ``standard`` runs fastest.
        inputs: tables that the application reads, or URIs or names of other assets; each is
            an inlet of the task.
        outputs: tables below the lake that the application stages at ``{output}``,
            by name (``gold/sales``) or as `Output`; each is an outlet of the task.
        expectations: suite that the staged outputs must keep to be published.
        retries: how many times the user's code may be started again, after OUT_OF_MEMORY,
            TIMEOUT or INFRA.
        retry_on: classes of failures after which it may be started again besides those:
            ``USER_ERROR``.
        retry_delays: seconds to the next start by class of the failure, where that shall not
            be `retry_delay`.
        max_concurrent_runs: a run that finds so many of its job active ends as SKIPPED, and
            so does its task; None: it does not look.
        in_place_s: how long to wait before the task defers.

    Returns:
        XCom: the run's id, state, attempt, duration and result.

    Raises:
        ConfigError: `retry_on` or `retry_delays` name no class of failures that can be tried
            again; the arguments of the other operator say more (`submit_arguments`).
    """

    template_fields: Sequence[str] = (
        "application",
        "args",
        "conf",
        "labels",
        "application_args",
        "name",
    )
    operator_extra_links = (RunLink(), RunLogLink(), SparkUiLink(), SparkHistoryLink())
    ui_color = "#e8f1fa"

    @with_submit_arguments
    def __init__(
        self,
        *,
        job: str | None = None,
        application: str | None = None,
        args: Sequence[str] = (),
        conf: Mapping[str, str] | None = None,
        backend: str | None = None,
        labels: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        profile: str = RunRequest.profile,
        inputs: Sequence[str] = (),
        outputs: Sequence[str | Output] = (),
        expectations: str | None = None,
        retries: int = 0,
        retry_on: Sequence[str] = (),
        retry_delays: Mapping[str, float] | None = None,
        max_concurrent_runs: int | None = None,
        in_place_s: float = IN_PLACE_S,
        **kwargs: Any,
    ) -> None:
        submit = take_submit_arguments(kwargs)
        check_retries(retry_on, retry_delays or {})
        tables = tuple(o if isinstance(o, Output) else Output(o) for o in outputs)
        outlets = [*(kwargs.pop("outlets", None) or ()), *(table_asset(o.table) for o in tables)]
        inlets = [*(kwargs.pop("inlets", None) or ()), *map(asset_of, inputs)]
        super().__init__(retries=retries + PICK_UPS, inlets=inlets, outlets=outlets, **kwargs)
        self.job = job
        self.application = application
        self.args = list(args)
        self.conf = {**(conf or {}), **submit.conf}  # as with spark-submit, arguments win
        self.backend = backend
        self.labels = dict(labels or {})
        self.timeout_s = timeout_s
        self.profile = Profile(profile).value
        self.outputs = tables
        self.expectations = expectations
        self.attempts = retries + 1
        self.retry_on = tuple(retry_on)
        self.retry_delays = dict(retry_delays or {})
        if kwargs.get("retry_policy") is None:
            self.retry_policy = retry_policy(self._delays_s)
        self.max_concurrent_runs = max_concurrent_runs
        self.in_place_s = in_place_s
        self.submit = submit
        self.application_args = submit.application_args
        self.name = submit.name
        self.run_id: str | None = None
        self.ui_url: str | None = None
        self.history_page: str | None = None
        self._caller: Caller | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the run, or take up what an earlier try left, and wait for it."""
        from dataharbour.jobs.conclude import Conclusion
        from dataharbour.jobs.execute import begin, open_run, refuse, skip
        from dataharbour.jobs.states import terminal
        from dataharbour.operators.interruptions import left_by_nobody
        from dataharbour.operators.surroundings import site_of_task

        caller = self._caller = self._called(context)
        with left_by_nobody(caller):
            site = site_of_task()
            try:
                run = open_run(site, lambda: self._request(context), caller=caller)
                self.run_id = str(run.id)
                if terminal(run.detail):
                    return self._report(context, Conclusion(run, run.failure))
                attempt = begin(site, run, at_most=self.max_concurrent_runs)
            except JobBusy as busy:
                skipped = skip(site, run, busy, caller=caller)
                raise self._error(Conclusion(skipped, skipped.failure)) from None
            except _FINAL as error:
                refuse(site, error, caller=caller)
                raise AirflowFailException(str(error)) from None
            self.ui_url = attempt.ui_url
            self.log.info("Run %s, attempt %d on %s", run.id, attempt.number, run.backend)
            return self._wait(context, site, run, attempt)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on where the trigger ended."""
        from dataharbour.jobs.finalize import Gate
        from dataharbour.jobs.outcomes import Outcome
        from dataharbour.operators.interruptions import left_by_nobody
        from dataharbour.operators.surroundings import site_of_task

        self._caller = self._called(context)
        with left_by_nobody(self._caller):
            site = site_of_task()
            attempt = site.store.attempt_state(UUID(event["attempt_id"]))
            run = site.store.get(attempt.run_id)
            self.run_id, self.ui_url = str(run.id), attempt.ui_url
            tail = self._tail(site, run, cursor=event["cursor"], lines_left=event["lines_left"])
            with Gate.of(run, site.lake, site.settings.include_dir) as gate:
                with self._group("Driver log, continued"):
                    tail.pull()
                why = Outcome(event["outcome"])
                return self._conclude(context, site, run, attempt, why, gate, tail)

    def on_kill(self) -> None:
        """The task ran too long, somebody marked or cleared it, or its worker is being stopped."""
        from dataharbour.operators.interruptions import interrupted

        if self.run_id is not None and self._caller is not None:
            is_out_of_time = isinstance(sys.exc_info()[1], AirflowTaskTimeout)
            interrupted(UUID(self.run_id), self._caller, is_out_of_time=is_out_of_time)

    def _request(self, context: Context) -> RunRequest:
        from dataharbour.operators.surroundings import (
            declared_request,
            occasion_of,
            one_off_request,
        )

        occasion = occasion_of(context, timezone=self._timezone)
        if self.job is not None:
            return declared_request(self.job, context["params"], occasion)
        if self.application is None:
            return one_off_request(context["params"], occasion)
        return replace(self._own_request(self.application), occasion=occasion)

    def _own_request(self, application: str) -> RunRequest:
        """What the operator's own arguments ask for."""
        from dataharbour.hooks.spark_master import place_of_connection

        for note in self.submit.notes():
            self.log.info("%s", note)
        conf, backend = self.conf, self.backend
        if backend is None and self.submit.conn_id is not None:
            place = place_of_connection(self.submit.conn_id)
            conf, backend = {**place.conf, **conf}, place.backend
            self.log.info("Connection %s: backend %s", self.submit.conn_id, backend)
        return RunRequest(
            application=application,
            args=(*self.args, *literal_args(self.application_args or [])),
            conf=conf,
            backend=backend or RunRequest.backend,
            labels=labels_with_name(self.labels, self.name),
            timeout_s=self.timeout_s,
            profile=self.profile,
            outputs=self.outputs,
            expectations=self.expectations,
        )

    def _called(self, context: Context) -> Caller:
        from dataharbour.operators.surroundings import caller_of

        return caller_of(
            context,
            attempts=self.attempts,
            retry_on=self.retry_on,
            retry_delay_s=self._delays_s,
        )

    @property
    def _delays_s(self) -> dict[FailureClass, float]:
        usual = self.retry_delay.total_seconds()
        return {kind: self.retry_delays.get(kind, usual) for kind in ATTEMPT_FAILED}

    @property
    def _timezone(self) -> str:
        """The zone of the DAG's schedule, else of the DAG."""
        dag = self.get_dag()
        zone = getattr(dag.timetable, "timezone", None) or dag.timezone if dag else None
        return getattr(zone, "name", None) or "UTC"

    def _wait(
        self, context: Context, site: Site, run: Run, attempt: AttemptState
    ) -> dict[str, Any]:
        """Wait in place, then in the triggerer."""
        from dataharbour.jobs.finalize import Gate
        from dataharbour.jobs.follow import LOG_LINES, ProgressReport, follow, tail_of

        wait = self._patience(context, site, run)
        tail = self._tail(site, run, cursor=tail_of(attempt), lines_left=LOG_LINES)
        with Gate.of(run, site.lake, site.settings.include_dir) as gate:
            with self._group("Driver log"):
                attempt, why = follow(
                    site.store,
                    run.id,
                    patience=wait,
                    seconds=self.in_place_s,
                    tail=tail,
                    report=ProgressReport(since=wait.since, emit=self.log.info),
                    is_alive=site.backend_of(run.backend).is_alive,
                )
            if why is not None:
                return self._conclude(context, site, run, attempt, why, gate, tail)
        return self._defer(run, attempt, wait, tail)

    def _conclude(
        self,
        context: Context,
        site: Site,
        run: Run,
        attempt: AttemptState,
        why: Outcome,
        gate: Gate,
        tail: LogTail,
    ) -> dict[str, Any]:
        from dataharbour.jobs.conclude import DriverCame, conclude
        from dataharbour.jobs.event_logs import logged_application, page_of

        logged = logged_application(attempt.progress, site.settings.event_logs)
        self.history_page = page_of(logged) if logged else None
        assert self._caller is not None, "execute and execute_complete set it"
        try:
            concluded = conclude(site, run, attempt, why, caller=self._caller, gate=gate)
        except DriverCame as came:
            self.log.info("%s", came.problem)
            return self._defer(run, came.attempt, self._patience(context, site, run), tail)
        return self._report(context, concluded)

    def _report(self, context: Context, concluded: Conclusion) -> dict[str, Any]:
        """Tell Airflow how it ended."""
        if concluded.failure is not None:
            raise self._error(concluded)
        for line in published_lines(concluded.run):
            self.log.info("%s", line)
        tell_assets(context, self.outlets, concluded.run)
        return _summary(concluded.run)

    def _defer(self, run: Run, attempt: AttemptState, wait: Patience, tail: LogTail) -> NoReturn:
        from dataharbour.triggers.run import RunTrigger

        raise TaskDeferred(
            trigger=RunTrigger(
                run_id=str(run.id),
                attempt_id=str(attempt.attempt_id),
                backend=run.backend,
                since=wait.since,
                claim_by=wait.claim_by,
                end_by=wait.end_by,
                carry={"cursor": tail.cursor, "lines_left": tail.lines_left},
            ),
            method_name="execute_complete",
        )

    def _error(self, concluded: Conclusion) -> AirflowException:
        """The run's failure as Airflow understands it: to be tried again, or final."""
        run, failure = concluded.run, concluded.failure
        assert failure is not None, "only failures become errors"
        first_line = failure.message.split("\n")[0]
        self.log.error(
            "Run %s is %s (%s): %s", run.id, run.detail, failure.failure_class, first_line
        )
        if run.detail is Detail.SKIPPED:
            return AirflowSkipException(failure.message)
        if concluded.goes_on:
            return ATTEMPT_FAILED[failure.failure_class](failure.message)
        return RunFailed(failure.message)

    def _patience(self, context: Context, site: Site, run: Run) -> Patience:
        """How long to wait for the driver of a run, from now on.

        Airflow's own alarm does not ring while the task is deferred, and begins anew afterwards.
        """
        from dataharbour.jobs.outcomes import patience

        limit, since = self.execution_timeout, context["ti"].start_date
        return patience(
            claim_within_s=site.backend_of(run.backend).claim_within_s,
            timeout_s=run.timeout_s,
            task_ends_at=(since + limit).timestamp() if limit and since else None,
            now=time.time(),
        )

    def _tail(self, site: Site, run: Run, *, cursor: str, lines_left: int) -> LogTail:
        from dataharbour.jobs.follow import LogTail

        return LogTail(
            site.store,
            run.id,
            cursor=cursor,
            lines_left=lines_left,
            emit=lambda line: self.log.info("%s", line),
        )

    @contextmanager
    def _group(self, title: str) -> Iterator[None]:
        """A foldable part of the task log."""
        self.log.info("::group::%s", title)
        try:
            yield
        finally:
            self.log.info("::endgroup::")


def _summary(run: Run) -> dict[str, Any]:
    return {
        "run_id": str(run.id),
        "state": str(run.state),
        "attempt": run.attempt,
        "duration_s": run.duration_s,
        "result": run.result,
    }
