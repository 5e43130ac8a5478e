"""What attempts stage in the lake, and what is removed of it when.

Who publishes an attempt, or ends its run, removes its staging. Where nobody was there to do that
(the task was killed in between, the run ended with its driver's last word, the lake did not
answer), it is found here.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

from dataharbour.errors import Unavailable
from dataharbour.jobs.lake import LakeEndpoint, open_lake
from dataharbour.jobs.output import discard_staging
from dataharbour.jobs.placeholders import STAGING
from dataharbour.jobs.store import RunStore

LEFT_FOR = timedelta(hours=1)  # whoever has just ended the run may be about to remove it

log = logging.getLogger(__name__)


def remove_left_staging(store: RunStore, lake: LakeEndpoint, *, now: datetime) -> int:
    """Remove what was staged by attempts whose runs have ended; the number of these attempts.

    The staging of a run without declared outputs stays: there its user finds the result.

    Args:
        store: says how the attempts' runs are.
        lake: where the staging is.
        now: aware UTC.

    Raises:
        Unavailable: the lake does not answer.
    """
    found = set()
    lake_store = open_lake(lake)
    for name in lake_store.folders(f"{STAGING}/"):
        with suppress(ValueError):  # not ours
            found.add(UUID(name))
    removed = 0
    for attempt_id in store.staged_in_vain(found, before=now - LEFT_FOR) if found else ():
        try:
            discard_staging(lake_store, attempt_id)
            removed += 1
        except Unavailable as error:
            log.warning("The staging of attempt %s stays: %s", attempt_id, error.problem)
    return removed
