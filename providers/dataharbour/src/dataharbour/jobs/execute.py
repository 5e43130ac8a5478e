"""Carry a run out: open it, and see that it has a driver.

The sequence only. What to do is decided in `outcomes`; the waiting for the driver is `follow`
(in place) or `watch` (in the triggerer), what comes then `conclude`; a run that is ended before
its time is `stopping`'s.
Each function may be repeated after its process was killed at any point: the
user's code is not started twice for one attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from dataharbour.errors import (
    ApplicationNotAllowed,
    ConfigError,
    Conflict,
    DataHarbourError,
    JobBusy,
    JobFailed,
    NotFound,
    Unavailable,
)
from dataharbour.jobs.applications import Application, resolve_application
from dataharbour.jobs.backends.launch import (
    LaunchContext,
    NotSubmitted,
    read_driver_conninfo,
)
from dataharbour.jobs.caller import Caller, run_of_task, was_cleared_since
from dataharbour.jobs.conclude import finish_try
from dataharbour.jobs.conf import check_conf
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
    Step,
    step,
)
from dataharbour.jobs.placeholders import output_root, resolve_args
from dataharbour.jobs.secrets import check_request
from dataharbour.jobs.site import Site
from dataharbour.jobs.stopping import BY_AIRFLOW, cancel
from dataharbour.jobs.storable import refuse_nul
from dataharbour.quality.suites import load_suite

Wanted = RunRequest | Callable[[], RunRequest]

_WRONG_REQUEST = (ConfigError, NotFound, ApplicationNotAllowed)


def open_run(site: Site, request: Wanted, *, caller: Caller) -> Run:
    """The run of a task: the one that is there, else a new one.

    One that is there goes on as it was requested. What the task says now is asked for
    only where a run needs it: the job's file may have changed meanwhile, or be gone.

    A run that has ended is returned as it is when Airflow has not heard of the
    end (the task's process was killed before). One that is being cancelled is
    seen to its end. Where it was Airflow that cancelled it (somebody cleared the
    task while it ran), a new run follows; so it does where somebody cleared the task
    while no process of it was there to hear of that.

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
    by_airflow = was_cleared_since(run, caller) and step(run) is not Step.REFUSE
    if step(run) is Step.CLOSE or (by_airflow and run.detail is not Detail.FINALIZING):
        _see_cancelled(site, run, actor=BY_AIRFLOW if by_airflow else None)
        run = _opened(site, request, caller)
    if run.detail is Detail.CANCELLED and _who_cancelled(site, run) == BY_AIRFLOW:
        return _opened(site, request, caller, instead_of=run.id)
    return run


def _see_cancelled(site: Site, run: Run, *, actor: str | None) -> None:
    store = site.store if actor is None else site.store.by(actor)
    is_over = cancel(
        store, run.id, backend_of=site.backend_of, within_s=STOP_WITHIN_S, clock=site.clock
    )
    if not is_over:
        raise Unavailable(
            f"The run {run.id} is being cancelled, and its driver still lives.",
            "Wait for its end; the task will try again.",
        )


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
        finish_try(site, run, run.attempt, Detail.FAILED, reason, caller=caller)


def skip(site: Site, run: Run, busy: JobBusy, *, caller: Caller) -> Run:
    """End a run that shall not wait until others of its job have ended."""
    reason = Failure(FailureClass.CANCELLED, busy.problem)
    return finish_try(site, run, run.attempt, Detail.SKIPPED, reason, caller=caller).run


def _opened(site: Site, request: Wanted, caller: Caller, *, instead_of: UUID | None = None) -> Run:
    found = site.store.take_up(
        dag_id=caller.dag_id,
        dag_run_id=caller.dag_run_id,
        task_id=caller.task_id,
        map_index=caller.map_index,
        clears=caller.clears,
        instead_of=instead_of,
        task_try=caller.task_try,
        task_max_tries=caller.max_tries,
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
        task_max_tries=caller.max_tries,
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


def _ended(run: Run) -> JobFailed:
    why = f": {run.failure.message}" if run.failure else "."
    return JobFailed(
        f"The run {run.id} is {run.detail}{why}", "Clear the task, or submit the run again."
    )
