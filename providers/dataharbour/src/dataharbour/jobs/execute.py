"""Carry a run from its request to its end: open it, see that it has a driver, conclude it.

The sequence only. What to do is decided in `outcomes`; the waiting between
`begin` and `conclude` is `follow` (in place) or `watch` (in the triggerer);
a run that is ended before its time is `stopping`'s.
Each function may be repeated after its process was killed at any point: the
user's code is not started twice for one attempt, and outputs appear once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from dataharbour.errors import (
    ApplicationNotAllowed,
    ConfigError,
    Conflict,
    DataHarbourError,
    JobBusy,
    JobFailed,
    NotFound,
    QualityFailed,
    QualityUnchecked,
    Unavailable,
)
from dataharbour.jobs.applications import Application, resolve_application
from dataharbour.jobs.backends.launch import (
    BackendOf,
    LakeEndpoint,
    LaunchContext,
    NotSubmitted,
    read_driver_conninfo,
)
from dataharbour.jobs.caller import Caller, run_of_task
from dataharbour.jobs.conf import check_conf
from dataharbour.jobs.finalize import Gate, discard, finalize
from dataharbour.jobs.model import (
    AttemptGrant,
    AttemptState,
    Detail,
    Failure,
    FailureClass,
    Run,
    RunRequest,
    request_of,
)
from dataharbour.jobs.notebooks import check_notebook
from dataharbour.jobs.outcomes import (
    STOP_WITHIN_S,
    UNCLAIMED,
    Outcome,
    Step,
    failure_of,
    goes_on,
    step,
)
from dataharbour.jobs.placeholders import output_root, resolve_args
from dataharbour.jobs.secrets import check_request
from dataharbour.jobs.states import terminal
from dataharbour.jobs.stopping import BY_AIRFLOW, CANCELLED, cancel, end_driver, give_up
from dataharbour.jobs.storable import refuse_nul
from dataharbour.jobs.store import RunStore
from dataharbour.quality.suites import load_suite
from dataharbour.settings import Settings

LAST_WORD_LOOKS = 10
LOOK_EVERY_S = 0.5

Wanted = RunRequest | Callable[[], RunRequest]

_WRONG_REQUEST = (ConfigError, NotFound, ApplicationNotAllowed)


@dataclass(frozen=True)
class Site:
    """What carrying out runs takes, of this installation.

    Attributes:
        backend_of: the backend of a name.
        clock: the present, aware UTC.
    """

    store: RunStore
    settings: Settings
    lake: LakeEndpoint
    backend_of: BackendOf
    clock: Callable[[], datetime]


class DriverCame(Unavailable):
    """A driver that was waited for in vain has come after all: there is nothing to conclude yet.

    Attributes:
        attempt: as it is now.
    """

    def __init__(self, attempt: AttemptState) -> None:
        super().__init__(
            f"The driver of attempt {attempt.number} came late; it runs.",
            "Wait for its end; the next try of the task takes it up.",
        )
        self.attempt = attempt


@dataclass(frozen=True)
class Conclusion:
    """How an attempt was concluded.

    Attributes:
        run: as it is now: at its end, or in RETRY_WAIT.
        failure: why the attempt was no success, or None.
    """

    run: Run
    failure: Failure | None

    @property
    def goes_on(self) -> bool:
        """Whether another attempt shall follow."""
        return self.run.detail is Detail.RETRY_WAIT


def open_run(site: Site, request: Wanted, *, caller: Caller) -> Run:
    """The run of a task: the one that is there, else a new one.

    One that is there goes on as it was requested. What the task says now is asked for
    only where a run needs it: the job's file may have changed meanwhile, or be gone.

    A run that has ended is returned as it is when Airflow has not heard of the
    end (the task's process was killed before). One that is being cancelled is
    seen to its end. Where it was Airflow that cancelled it (somebody cleared the
    task while it ran), a new run follows.

    Args:
        site: this installation.
        request: what shall be run, or what tells it (and raises its own errors).
        caller: the task.

    Raises:
        ConfigError: the request cannot be kept.
        SecretInRequest: a value of the request is one: it would be kept and shown.
        Unavailable: the cancelled driver does not end; the task may be repeated.
    """
    run = _opened(site, request, caller)
    if step(run) is Step.CLOSE:
        if not cancel(site.store, run.id, within_s=STOP_WITHIN_S, clock=site.clock):
            raise Unavailable(
                f"The run {run.id} is being cancelled, and its driver still lives.",
                "Wait for its end; the task will try again.",
            )
        run = _opened(site, request, caller)
    if run.detail is Detail.CANCELLED and _who_cancelled(site, run) == BY_AIRFLOW:
        return _opened(site, request, caller, instead_of=run.id)
    return run


def begin(site: Site, run: Run, *, at_most: int | None = None) -> AttemptState:
    """See that a run has a driver.

    An attempt that an earlier try of the task has started is adopted, whatever
    has become of it: `conclude` sees to it.

    Args:
        site: this installation.
        run: the run.
        at_most: how many runs of its job may be active, this one included; None: any.

    Raises:
        JobBusy: there are so many already (`skip` ends the run with that).
        JobFailed: the run ended (was cancelled) before its task came.
        ConfigError, NotFound, ApplicationNotAllowed: the request cannot be run
            (`refuse` ends the run with that).
        Unavailable: something did not answer; the task may be repeated.
    """
    todo = step(run)
    if todo is Step.REFUSE:
        raise _ended(run)
    if todo is Step.START:
        return _start(site, run, at_most)
    return site.store.wait(run.id, timeout_s=0)


def refuse(site: Site, error: DataHarbourError, *, caller: Caller) -> None:
    """End the run that a task has (the API made it) and that cannot be carried out."""
    run = run_of_task(site.store, caller)
    if run is not None and (step(run) is Step.START or run.detail is Detail.SUBMITTING):
        reason = Failure(FailureClass.CONFIG, str(error))
        _finish(site, run, run.attempt, Detail.FAILED, reason, caller=caller)


def skip(site: Site, run: Run, busy: JobBusy, *, caller: Caller) -> Run:
    """End a run that shall not wait until others of its job have ended."""
    reason = Failure(FailureClass.CANCELLED, busy.problem)
    return _finish(site, run, run.attempt, Detail.SKIPPED, reason, caller=caller).run


def conclude(
    site: Site, run: Run, attempt: AttemptState, why: Outcome, *, caller: Caller, gate: Gate
) -> Conclusion:
    """Bring a run whose attempt is over to its end, or to the next attempt.

    Args:
        site: this installation.
        run: the run.
        attempt: its newest attempt, as last read.
        why: there is nothing more to wait for.
        caller: the task.
        gate: checks the staged outputs.

    Raises:
        DriverCame: it is not over: wait on.
        Conflict: the run is at another attempt, or carried by another try of the task, by
            now; this one has changed nothing.
        Unavailable: something did not answer; the task may be repeated.
    """
    try:
        return _concluded(site, run, attempt, why, caller=caller, gate=gate)
    except Conflict:
        if site.store.get(run.id).attempt != attempt.number:  # so nobody will publish that
            discard(run, attempt.attempt_id, lake=site.lake)
        raise


def _concluded(
    site: Site, run: Run, attempt: AttemptState, why: Outcome, *, caller: Caller, gate: Gate
) -> Conclusion:
    """See `conclude`."""
    if why is Outcome.LAPSED:
        attempt, why = _last_word(site, run, attempt)
    elif why is Outcome.OVERDUE:
        end_driver(
            site.store,
            run,
            attempt.number,
            task_try=caller.task_try,
            backend_of=site.backend_of,
            within_s=0 if attempt.observed in UNCLAIMED else STOP_WITHIN_S,  # nobody hears of it
            clock=site.clock,
        )
    if why in (Outcome.LAPSED, Outcome.UNCLAIMED):
        attempt, why = _give_up(site, run, attempt, why)
    failed = failure_of(attempt, why)
    if failed is None:
        return _publish(site, run, attempt, caller=caller, gate=gate)
    detail, reason = failed
    if goes_on(
        reason,
        why,
        starts=sum(a.claimed_at is not None for a in site.store.attempts(run.id)),
        attempts=caller.attempts,
        may_retry=caller.may_retry,
        retry_on=caller.retry_on,
    ):
        detail = Detail.RETRY_WAIT
    return _fail(site, run, attempt, detail, reason, caller=caller)


def _opened(site: Site, request: Wanted, caller: Caller, *, instead_of: UUID | None = None) -> Run:
    found = site.store.take_up(
        dag_id=caller.dag_id,
        dag_run_id=caller.dag_run_id,
        task_id=caller.task_id,
        map_index=caller.map_index,
        clears=caller.clears,
        instead_of=instead_of,
        task_try=caller.task_try,
    )
    if found is not None:
        return found
    request = request() if callable(request) else request
    check_request(request)
    refuse_nul(request)
    try:
        sha256 = _application(site, request.application).sha256
    except _WRONG_REQUEST:
        sha256 = ""  # `begin` meets the same error if it needs the file
    return site.store.open_run(
        request,
        application_sha256=sha256,
        dag_id=caller.dag_id,
        dag_run_id=caller.dag_run_id,
        task_id=caller.task_id,
        map_index=caller.map_index,
        principal=caller.principal,
        clears=caller.clears,
        instead_of=instead_of,
        task_try=caller.task_try,
        now=site.clock(),
    )


def _who_cancelled(site: Site, run: Run) -> str | None:
    """The actor that first asked for the end of a run."""
    asked = (Detail.CANCELLING, Detail.CANCELLED)
    return next((e.actor for e in site.store.events(run.id) if e.new in asked), None)


def _start(site: Site, run: Run, at_most: int | None) -> AttemptState:
    """Start the next attempt of `run`, as it was requested."""
    try:
        application = _pinned(site, run)
        check_notebook(run.application, backend=run.backend, args=run.args)
        if run.expectations:  # a suite that cannot be used is known before hours of work
            load_suite(run.expectations, include_dir=site.settings.include_dir)
        request = replace(request_of(run), conf=check_conf(run.conf, backend=run.backend))
        backend = site.backend_of(run.backend)
        grant = site.store.start_attempt(
            run.id, backend=run.backend, at_most=at_most, now=site.clock()
        )
        context = _launch_context(site, run, request, application, grant)
    except JobBusy:
        raise
    except Conflict as error:
        raise _ended(site.store.get(run.id)) from error
    try:
        external_id = backend.submit(context)
    except NotSubmitted as error:
        _nobody_took(site, run, grant, error)
        raise
    site.store.submitted(grant.attempt_id, external_id=external_id, now=site.clock())
    ui_url = None
    with suppress(Exception):  # the driver is there, whether its page can be told or not
        ui_url = backend.ui_url(external_id)
    if ui_url is not None:
        site.store.submitted(
            grant.attempt_id, external_id=external_id, ui_url=ui_url, now=site.clock()
        )
    return site.store.attempt_state(grant.attempt_id)


def _nobody_took(site: Site, run: Run, grant: AttemptGrant, error: NotSubmitted) -> None:
    """The attempt has no driver: the task's next try shall not wait for one, but start another."""
    reason = Failure(FailureClass.INFRA, error.problem)
    with suppress(Conflict):  # it was cancelled meanwhile, or is at another attempt
        site.store.give_up(run.id, attempt=grant.number, now=site.clock())
        site.store.finish(
            run.id,
            detail=Detail.RETRY_WAIT,
            failure=reason,
            attempt=grant.number,
            now=site.clock(),
        )


def _launch_context(
    site: Site, run: Run, request: RunRequest, application: Application, grant: AttemptGrant
) -> LaunchContext:
    lake = site.settings.lake
    args = resolve_args(
        request.args,
        lake=lake,
        output=output_root(lake, grant.attempt_id),
        params=request.params,
        occasion=request.occasion,
    )
    return LaunchContext(
        grant=grant,
        request=replace(request, args=args),
        application=application,
        principal=run.principal,
        settings=site.settings,
        driver_conninfo=read_driver_conninfo(site.settings),
        lake=site.lake,
    )


def _pinned(site: Site, run: Run) -> Application:
    """The application of `run`, which must be what it was when the run was accepted."""
    application = _application(site, run.application)
    if run.application_sha256 and run.application_sha256 != application.sha256:
        raise ConfigError(
            f"The application {run.application!r} has changed since the run was submitted.",
            "Start a new run: it takes the file as it is now.",
        )
    return application


def _application(site: Site, name: str) -> Application:
    settings = site.settings
    return resolve_application(name, settings.applications, notebooks=settings.notebooks)


def _last_word(site: Site, run: Run, attempt: AttemptState) -> tuple[AttemptState, Outcome]:
    """A driver whose lease is over is LOST, unless it only waits for the database to listen."""
    site.store.lost(attempt.run_id, attempt=attempt.number, now=site.clock())
    backend = site.backend_of(run.backend)
    for _ in range(LAST_WORD_LOOKS):
        attempt = site.store.attempt_state(attempt.attempt_id)
        if attempt.ended:
            return attempt, Outcome.ENDED
        if attempt.external_id and backend.is_alive(attempt.external_id) is False:
            break
        time.sleep(LOOK_EVERY_S)
    return attempt, Outcome.LAPSED


def _give_up(
    site: Site, run: Run, attempt: AttemptState, why: Outcome
) -> tuple[AttemptState, Outcome]:
    """Fence a driver off, unless it has come, or has ended, since it was looked at."""
    still = UNCLAIMED if why is Outcome.UNCLAIMED else UNCLAIMED | {Detail.RUNNING}
    if give_up(
        site.store, run, attempt, only_if=still, backend_of=site.backend_of, now=site.clock()
    ):
        return attempt, why
    attempt = site.store.attempt_state(attempt.attempt_id)
    if not attempt.ended:
        raise DriverCame(attempt)
    return attempt, Outcome.ENDED


def _publish(
    site: Site, run: Run, attempt: AttemptState, *, caller: Caller, gate: Gate
) -> Conclusion:
    """Check the staged outputs, make them the tables' content, end the run."""
    site.store.finalizing(run.id, site.clock(), attempt=attempt.number)
    try:
        result = finalize(
            site.store, run, attempt.attempt_id, lake=site.lake, gate=gate, now=site.clock()
        )
    except JobFailed as error:
        return _fail(site, run, attempt, Detail.FAILED, _rejected(error), caller=caller)
    except ConfigError as error:  # a suite that somebody broke meanwhile
        reason = Failure(FailureClass.CONFIG, str(error))
        return _fail(site, run, attempt, Detail.FAILED, reason, caller=caller)
    except Exception as error:
        if not caller.may_retry:  # nobody comes again: the run must not stay open
            problem = error.problem if isinstance(error, DataHarbourError) else repr(error)
            reason = Failure(FailureClass.INFRA, f"Publishing failed: {problem}")
            _fail(site, run, attempt, Detail.FAILED, reason, caller=caller)
        raise
    done = site.store.finish(
        run.id,
        detail=Detail.SUCCEEDED,
        result=result,
        clears=caller.clears,
        attempt=attempt.number,
        now=site.clock(),
    )
    return Conclusion(done, None)


def _fail(
    site: Site, run: Run, attempt: AttemptState, detail: Detail, reason: Failure, *, caller: Caller
) -> Conclusion:
    """End the run, or this try of it, and then remove what the attempt staged."""
    concluded = _finish(site, run, attempt.number, detail, reason, caller=caller)
    discard(run, attempt.attempt_id, lake=site.lake)
    return concluded


def _finish(
    site: Site, run: Run, attempt: int, detail: Detail, reason: Failure, *, caller: Caller
) -> Conclusion:
    """End the run, or this try of it.

    Raises:
        Conflict: it is at another attempt by now.
    """
    now = site.clock()
    delay = timedelta(seconds=caller.retry_delay_s.get(reason.failure_class, 0))
    try:
        ended = site.store.finish(
            run.id,
            detail=detail,
            failure=reason,
            clears=caller.clears,
            retry_at=now + delay if detail is Detail.RETRY_WAIT else None,
            attempt=attempt,
            now=now,
        )
    except Conflict:  # it was ended by somebody else, or shall be cancelled by now
        found = site.store.get(run.id).detail
        ended = site.store.finish(
            run.id,
            detail=found if terminal(found) else Detail.CANCELLED,
            failure=CANCELLED,
            clears=caller.clears,
            attempt=attempt,
            now=site.clock(),
        )
    return Conclusion(ended, reason)


def _rejected(error: JobFailed) -> Failure:
    checked = isinstance(error, (QualityFailed, QualityUnchecked))
    failure_class = FailureClass.QUALITY if checked else FailureClass.USER_ERROR
    return Failure(failure_class, f"{error.problem}\n{error.remedy}")


def _ended(run: Run) -> JobFailed:
    why = f": {run.failure.message}" if run.failure else "."
    return JobFailed(
        f"The run {run.id} is {run.detail}{why}", "Clear the task, or submit the run again."
    )
