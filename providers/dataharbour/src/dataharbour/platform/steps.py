"""Run named steps, each as soon as those it needs are done, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from dataharbour.platform.report import Report


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of work.

    Attributes:
        name: shown to people.
        run: does it; returns what to show when it is done.
        needs: names of the steps that come before it.
    """

    name: str
    run: Callable[[], str | None]
    needs: tuple[str, ...] = ()


class Stopped(Exception):
    """Raised by a step that gave up because `stop` was set."""


def run_all(steps: Iterable[Step], report: Report, *, stop: threading.Event) -> None:
    """Run all steps.

    After a failure, or Ctrl-C, no new one starts and `stop` is set: a step that waits looks at it.
    When the running ones have ended, the first error is raised.
    """
    waiting = {step.name: step for step in steps}
    unknown = {need for step in waiting.values() for need in step.needs} - set(waiting)
    if unknown:
        raise ValueError(f"steps need {sorted(unknown)}, which are not among them")
    done: set[str] = set()
    running: dict[Future[str | None], Step] = {}
    first_error: BaseException | None = None
    with ThreadPoolExecutor(max_workers=8) as pool:
        try:
            while waiting or running:
                ready = [s for s in waiting.values() if done.issuperset(s.needs)]
                for step in ready if first_error is None else []:
                    del waiting[step.name]
                    running[pool.submit(step.run)] = step
                if not running:
                    break
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    step = running.pop(future)
                    error = future.exception()
                    if error is None:
                        done.add(step.name)
                        report.ready(step.name, future.result() or "ready")
                    elif not isinstance(error, Stopped):
                        first_error = first_error or error
                        problem = str(error).splitlines()[0] if str(error) else "failed"
                        report.failed(step.name, problem)
                        stop.set()
        except BaseException:  # Ctrl-C
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if first_error is not None:
        raise first_error
