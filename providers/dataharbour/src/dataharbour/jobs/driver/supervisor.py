"""Supervise one driver: claim, run the child, watch it, report how it ended.

The main thread never talks to the database after the claim: it reads the
child's pipes, and ends the child when its owner cancels it, when its time is
over, when it was told to stop, or when the lease could not be renewed. The
parent-death signal binds the child to this thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from dataharbour.jobs.driver import artifacts, event_logs, process
from dataharbour.jobs.driver.capture import MAX_MESSAGE, Capture
from dataharbour.jobs.driver.collection import Collection
from dataharbour.jobs.driver.reach import ServerWatch, unreachable
from dataharbour.jobs.driver.reporter import Reporter, lease_clock
from dataharbour.jobs.driver.spec import DriverSpec
from dataharbour.jobs.driver.termination import Termination, release_session
from dataharbour.jobs.driver.usage import Usage
from dataharbour.jobs.driver.verdict import Evidence, Stop, Verdict, judge

EX_SOFTWARE = 70
NOT_OURS = 75  # EX_TEMPFAIL: the attempt belongs to somebody else, or nobody could be asked
AFTERWARDS_WITHIN_S = 20.0
FINISH_PATIENCE_S = 600.0  # a database that is away for longer makes the run LOST
StartChild = Callable[..., "subprocess.Popen[bytes]"]  # with the arguments of `start_child`

_MEASURE_EVERY_S = 1.0
_TELL_USAGE_EVERY_S = 10.0


def main(spec: DriverSpec, *, start_child: StartChild | None = None) -> int:
    """Supervise the attempt of `spec`; 0 when it was not ours, or its end is reported.

    Args:
        spec: the attempt.
        start_child: in place of `process.start_child`, for a child that is there already.
    """
    supervisor = _supervised(spec, start_child)
    return 0 if supervisor is None or supervisor.is_reported else NOT_OURS


def supervise(spec: DriverSpec) -> int:
    """`main`, where the exit code is to be the application's: a cluster shows it to people."""
    supervisor = _supervised(spec)
    return 0 if supervisor is None else supervisor.exit_code


def _supervised(spec: DriverSpec, start_child: StartChild | None = None) -> Supervisor | None:
    """A supervisor after its work; None where the attempt is another's, or over."""
    if start_child is None:
        os.closerange(3, 4096)  # what our starter left open is none of our business
    os.chdir(spec.folder)
    supervisor = Supervisor(spec, start_child or process.start_child)
    if not supervisor.reporter.claim():
        print("not claimed: another driver has this attempt, or it is over")  # noqa: T201
        return None
    try:
        supervisor.run()
    except Exception as error:  # the attempt is ours by now: nobody else can say what happened
        supervisor.give_up(error)
    return supervisor


class Supervisor:
    """One attempt, from the claim to the last word.

    Attributes:
        exit_code: of the attempt, once it has ended.
        is_reported: whether the database has taken its end.
    """

    def __init__(self, spec: DriverSpec, start_child: StartChild = process.start_child) -> None:
        self.spec = spec
        self._start_child = start_child
        self.exit_code = EX_SOFTWARE
        self.is_reported = False
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._signals()
        process.adopt_orphans()
        self.reporter = Reporter(spec, wake=self._wake_out)
        self._record_pid()
        self._capture = Capture(spec, self.reporter)
        self._stop: Stop | None = None
        self._told_to_stop = False
        self._released = False  # the Connect session, while the child was ended
        self._child: subprocess.Popen[bytes] | None = None
        self._server = ServerWatch(spec.session, wake=self._wake_out)
        self._artifacts: Collection | None = None
        self._usage = Usage()
        self._measure_at = 0.0
        self._tell_usage_at = time.monotonic() + _TELL_USAGE_EVERY_S

    def run(self) -> None:
        """Run the child to its end and report it."""
        self._capture.open()
        problem = _unreachable(self.spec)
        if problem is not None:
            self.reporter.start()
            self._finish(Verdict("FAILED", 69, "INFRA", problem))
            return
        oom_before = process.oom_kills()
        exit_code = self._run_child()
        self._release_session()
        self._end_what_is_left(exit_code)
        self._collect_artifacts()
        self._hand_event_logs_over()
        self._finish(
            judge(
                Evidence(
                    exit_code=exit_code,
                    stop=self._stop,
                    report=self._capture.report,
                    oom_kills=process.oom_kills() - oom_before,
                    tail=list(self._capture.tail),
                    timeout_s=self.spec.timeout_s,
                )
            )
        )

    def give_up(self, error: Exception) -> None:
        """End what was started and report the error that `run` let out."""
        trace = self._capture.clean(traceback.format_exc())
        print(trace, file=sys.stderr)  # noqa: T201 - supervisor.log
        if self._child is not None:
            process.reap(self._child)
            with contextlib.suppress(OSError):
                self._release_session()
                self._end_what_is_left(EX_SOFTWARE)
        self.reporter.start()
        self._collect_artifacts()
        if getattr(error, "filename", None) == self.spec.command[0]:
            failure_class, what = "CONFIG", "The driver's program could not be started"
        else:
            failure_class, what = "INFRA", "The driver could not be supervised"
        text = self._capture.clean(f"{what}: {type(error).__name__}: {error}")[:MAX_MESSAGE]
        self._finish(Verdict("FAILED", EX_SOFTWARE, failure_class, text))

    def _run_child(self) -> int:
        control = self._capture.open_control()
        child = self._child = self._start_child(
            self.spec.command,
            environment=self.spec.environment,
            folder=Path(self.spec.folder) / "work",
        )
        self.reporter.start()  # only now: a process that has threads should not fork
        self._server.start()
        self._follow_artifacts()
        self._capture.watch(child, control)
        self._capture.on_readable(self._wake_in, self._woken)
        self._follow(child)
        exit_code = process.reap(child)
        self._usage.ended()
        self._capture.drain(seconds=1.0)
        return exit_code

    def _follow(self, child: subprocess.Popen[bytes]) -> None:
        """Until the child is over, by itself or by us."""
        ending = Termination(child, self.spec, self._capture.note)
        timeout_s = self.spec.timeout_s
        limit = time.monotonic() + timeout_s if timeout_s else None
        while not process.has_exited(child):
            fence_in = self.reporter.renewed_at + self.spec.fence_after_s - lease_clock()
            if self._stop is None:
                self._stop = self._reason(fence_in, limit)
                if self._stop is not None:
                    cancelled = self._stop is Stop.CANCELLED
                    grace_s = self.reporter.grace_s if cancelled else self.spec.grace_s
                    ending.begin(self._stop, grace_s=grace_s)
            elif fence_in <= 0 or self.reporter.fenced:
                ending.kill()  # whatever it was given time for
            waits = [fence_in, ending.step(), self._measure()]
            if limit is not None:
                waits.append(limit - time.monotonic())
            # Something that is due already was acted on; look again in a moment.
            self._capture.turn(min((w for w in waits if w > 0), default=0.1))
        if self._stop is None and self._told_to_stop:
            self._stop = Stop.TERMINATED  # whoever stopped us stopped the child as well
        self._released = ending.released

    def _measure(self) -> float:
        """Look at the child's processes when it is time; the seconds until it is again."""
        now = time.monotonic()
        if now >= self._measure_at:
            self._usage.sample()
            self._measure_at = now + _MEASURE_EVERY_S
        if now >= self._tell_usage_at:
            self.reporter.metrics(self._usage.metrics())
            self._tell_usage_at = now + _TELL_USAGE_EVERY_S
        return self._measure_at - now

    def _reason(self, fence_in: float, limit: float | None) -> Stop | None:
        if self.reporter.fenced or fence_in <= 0:
            return Stop.FENCED
        if self.reporter.cancelled:
            return Stop.CANCELLED
        if self._told_to_stop:
            return Stop.TERMINATED
        if limit is not None and time.monotonic() >= limit:
            return Stop.TIMEOUT
        if self._server.lost:
            return Stop.SERVER_LOST
        return None

    # --- signals, the end -----------------------------------------------------------------

    def _signals(self) -> None:
        """SIGTERM asks us to stop, SIGCHLD wakes the loop; both through the wake pipe."""
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)

    def _on_terminate(self, _number: int, _frame: object) -> None:
        self._told_to_stop = True

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_in, 4096)

    def _record_pid(self) -> None:
        pid = os.getpid()
        record = {"pid": pid, "start": process.start_ticks(pid)}
        (Path(self.spec.folder) / "supervisor.json").write_text(json.dumps(record))

    def _release_session(self) -> None:
        """Where the child did not: a query may still run on the Connect server."""
        is_over = self._released or self._capture.released or self._server.lost
        if self.spec.session is not None and not is_over:
            release_session(self.spec)

    def _end_what_is_left(self, exit_code: int) -> None:
        """After a bad end, and before it is told: a killed child could not do it itself."""
        if not self.spec.afterwards or exit_code == 0:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                self.spec.afterwards,
                cwd=self.spec.folder,
                env=self.spec.environment,
                stdin=subprocess.DEVNULL,
                timeout=AFTERWARDS_WITHIN_S,
                check=False,
            )

    def _follow_artifacts(self) -> None:
        if self.spec.artifacts:
            left = Path(self.spec.folder) / artifacts.FOLDER
            self._artifacts = Collection(left, Path(self.spec.artifacts), self.spec.secrets)
            self._artifacts.start()

    def _collect_artifacts(self) -> None:
        collection, self._artifacts = self._artifacts, None
        if collection is None:
            return
        try:
            said = collection.end()
        except OSError as error:  # a disk that is broken must not end the run
            said = [f"The artifacts are not kept: {error.strerror}."]
        for line in said:
            self._capture.note(line)

    def _hand_event_logs_over(self) -> None:
        if not self.spec.event_logs:
            return
        try:
            event_logs.hand_over(Path(self.spec.folder) / "events", Path(self.spec.event_logs))
        except OSError as error:
            self._capture.note(f"Spark's history will not show this attempt: {error.strerror}")

    def _finish(self, verdict: Verdict) -> None:
        self.exit_code = verdict.exit_code
        if verdict.state != "SUCCEEDED" and verdict.message:
            self._capture.note(f"{verdict.state}: {verdict.message.splitlines()[0]}")
        self._capture.close()
        if metrics := self._usage.metrics():
            self.reporter.metrics(metrics)
        self.is_reported = self.reporter.finish(verdict, patience_s=FINISH_PATIENCE_S)


def _unreachable(spec: DriverSpec) -> str | None:
    """Why the Connect server cannot be reached, or None: its client would try for minutes."""
    if spec.session is None:
        return None
    host, port = spec.session.host, spec.session.port
    problem = unreachable(host, port, timeout_s=3)
    if problem is None:
        return None
    return (
        f"No Spark Connect server answers at {host}:{port} ({problem}).\n"
        "Is it running (harbour status)? Is the connection dataharbour_spark_connect right?"
    )
