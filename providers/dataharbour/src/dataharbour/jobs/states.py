"""Decide which change of a run's state is allowed.

Pure. Terminal is final; everything else has a way out.
"""

from __future__ import annotations

from collections.abc import Mapping

from dataharbour.errors import Conflict
from dataharbour.jobs.model import STATE_OF, Detail, State

_D = Detail
_END = frozenset({_D.FAILED, _D.CANCELLED, _D.TIMED_OUT})

TERMINAL = frozenset({_D.SUCCEEDED, _D.FAILED, _D.CANCELLED, _D.TIMED_OUT, _D.SKIPPED})

TRANSITIONS: Mapping[Detail, frozenset[Detail]] = {
    _D.ACCEPTED: _END | {_D.QUEUED, _D.SUBMITTING, _D.CANCELLING, _D.SKIPPED},
    _D.QUEUED: _END | {_D.SUBMITTING, _D.CANCELLING, _D.SKIPPED, _D.RETRY_WAIT},
    _D.SUBMITTING: _END
    | {
        _D.SUBMITTED,
        _D.SUBMITTING,  # a newer attempt fences one that never claimed
        _D.RUNNING,  # the driver claimed before the submitter came back
        _D.CANCELLING,
        _D.RETRY_WAIT,
        _D.LOST,
        _D.SKIPPED,
    },
    _D.SUBMITTED: _END | {_D.RUNNING, _D.SUBMITTING, _D.CANCELLING, _D.RETRY_WAIT, _D.LOST},
    _D.RUNNING: _END | {_D.FINALIZING, _D.SUCCEEDED, _D.CANCELLING, _D.RETRY_WAIT, _D.LOST},
    _D.FINALIZING: frozenset({_D.SUCCEEDED, _D.FAILED}),
    _D.CANCELLING: _END | {_D.LOST},
    _D.RETRY_WAIT: _END | {_D.QUEUED, _D.SUBMITTING, _D.CANCELLING},
    _D.LOST: _END | {_D.RUNNING, _D.SUBMITTING, _D.FINALIZING, _D.CANCELLING, _D.RETRY_WAIT},
    **{end: frozenset() for end in TERMINAL},
}


def terminal(detail: Detail) -> bool:
    """Whether a run in this state never changes again."""
    return detail in TERMINAL


def check_transition(old: Detail, new: Detail) -> None:
    """Refuse a change that the table does not have.

    Raises:
        Conflict: the run may not go from `old` to `new`.
    """
    if new in TRANSITIONS[old]:
        return
    if terminal(old):
        raise Conflict(
            f"The run is {old} and stays so; it cannot become {new}.",
            "Start a new run (retry) instead.",
        )
    raise Conflict(
        f"A run that is {old} cannot become {new}.",
        f"From {old} it can become: {', '.join(sorted(TRANSITIONS[old]))}.",
    )


def details_of(state: State) -> list[Detail]:
    """The fine states behind a word for people."""
    return [detail for detail, word in STATE_OF.items() if word is state]
