"""Run one PySpark application, and tell the supervisor how it goes.

Called as ``child.py FOLDER SHA256 APPLICATION [ARG…]`` by Python or by
spark-submit. Imports the standard library only: pyspark is the application's to
import. A notebook is run by `notebook.py`. Reports (progress, failure) are JSON lines
on the named pipe ``FOLDER/control``; what they say explains the exit status, and never
replaces it.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import NoReturn

from dataharbour.jobs.driver.control import Control
from dataharbour.jobs.driver.parent import started_by_java
from dataharbour.jobs.driver.session import quiet_known_noise, stop_spark

EXIT_LIMIT_S = 10.0  # a frozen Connect server would hold a client for more than ten minutes


def main(folder: str, sha256: str, application: str, args: list[str]) -> NoReturn:
    """Run the application and leave with its exit code."""
    _die_with_parent()
    if started_by_java():
        _write_past_the_jvm()
    signal.signal(signal.SIGTERM, _on_terminate)
    control = Control(os.path.join(folder, "control"))
    code = 70
    try:
        source = _verified(application, sha256, control)
        quiet_known_noise()
        if application.endswith(".ipynb"):
            from dataharbour.jobs.driver import notebook

            code = notebook.run(application, source, args, control, folder)
        else:
            with _progress(control), _application_id(control):
                code = _run(application, source, args, control)
                _join_threads()
    finally:
        watchdog = threading.Timer(EXIT_LIMIT_S, _leave, [code])
        watchdog.daemon = True
        watchdog.start()
        if stop_spark() and not application.endswith(".ipynb"):  # there it is the kernel's to say
            control.send(kind="released")
    _flush()
    sys.exit(code)


def _run(application: str, source: bytes, args: list[str], control: Control) -> int:
    """The application as `__main__`; its exit code as Python itself would give it."""
    sys.argv = [application, *args]
    sys.path[0] = os.path.dirname(application)
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = application
    try:
        # Not by runpy, which would read the file again: it may be another one by now.
        code = compile(source, application, "exec", dont_inherit=True)
        exec(code, main.__dict__)
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code or 0
        print(leaving.code, file=sys.stderr)  # noqa: T201 - what Python does with a text
        control.send(kind="failure", failure_class="USER_ERROR", message=str(leaving.code))
        return 1
    except BaseException as error:
        _report(error, application, control)
        return 1
    return 0


def _report(error: BaseException, application: str, control: Control) -> None:
    from dataharbour.jobs.driver.causes import explain

    # The frame above the application is ours; a file that is no Python has no other.
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != application:
        trace = trace.tb_next
    shown = error.with_traceback(trace)
    sys.excepthook(type(shown), shown, shown.__traceback__)
    failure_class, message = explain(shown)
    control.send(kind="failure", failure_class=failure_class, message=message)


def _verified(application: str, sha256: str, control: Control) -> bytes:
    """The main file's source, if it is the one that was submitted."""
    with open(application, "rb") as file:
        source = file.read()
    if hashlib.sha256(source).hexdigest() != sha256:
        text = f"{application} was changed after the run was submitted"
        control.send(kind="failure", failure_class="CONFIG", message=text)
        raise SystemExit(text)
    return source


@contextlib.contextmanager
def _progress(control: Control) -> Iterator[None]:
    from dataharbour.jobs.driver.progress import Watch

    watch = Watch(control.send)
    watch.start()
    try:
        yield
    finally:
        watch.end()


@contextlib.contextmanager
def _application_id(control: Control) -> Iterator[None]:
    from dataharbour.jobs.driver.spark_application import tell_id

    ended = threading.Event()
    threading.Thread(target=tell_id, args=(control.send, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _die_with_parent() -> None:
    """Under spark-submit our parent is the JVM, which the supervisor kills or outlives."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(70)


def _write_past_the_jvm() -> None:
    """Open the JVM's own outputs, which are the supervisor's pipes.

    spark-submit gives its Python one pipe for both streams and copies it to its
    standard output: errors would no longer be told apart.
    """
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            pipe = os.open(f"/proc/{os.getppid()}/fd/{stream}", os.O_WRONLY)
            os.dup2(pipe, stream)
            os.close(pipe)


def _on_terminate(_number: int, _frame: object) -> None:
    """Let the application's `finally` blocks run; the supervisor counts the seconds."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_cancel_jobs, daemon=True).start()
    raise SystemExit(128 + signal.SIGTERM)


def _cancel_jobs() -> None:
    """Free the connection to the JVM: what the way out says there would wait for the query's end.

    On a cluster the JVM lives on until we are gone; elsewhere it gets the same signal.
    """
    module = sys.modules.get("pyspark.core.context")
    context = getattr(getattr(module, "SparkContext", None), "_active_spark_context", None)
    with contextlib.suppress(Exception):  # the JVM ends as well
        if context is not None:
            context.cancelAllJobs()


def _join_threads() -> None:
    """Wait for the application's own threads, as the interpreter would at its end."""
    from concurrent.futures import thread as pools

    for thread in threading.enumerate():
        own = thread is threading.current_thread() or thread is threading.main_thread()
        if not own and not thread.daemon and thread not in pools._threads_queues:
            thread.join()


def _leave(code: int) -> None:
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--wait"]:
        from dataharbour.jobs.driver.prepare import wait_for_work

        arguments = wait_for_work()
    main(arguments[0], arguments[1], arguments[2], arguments[3:])
