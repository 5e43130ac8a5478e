"""What a supervisor elsewhere is told: an attempt, carried by its environment.

A driver on another machine, in a container or under another user cannot read the state
folder, so everything it needs travels with it, its application included. The variables
are taken out of the environment at once; their token is a ticket that is worth nothing
after the claim (`driver.claim_by_ticket`): whoever can look at a JVM's or a container's
environment later finds nothing of use.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from typing import Any

VARIABLE = "DATAHARBOUR_DRIVER_"  # DATAHARBOUR_DRIVER_0, DATAHARBOUR_DRIVER_1, …
PART = 100_000  # characters; Linux takes 128 KiB in one variable
MAX_PARTS = 8  # and 2 MiB in all, of which others need some
MAX_SOURCE = 1024 * 1024  # bytes of an application


class TooLarge(ValueError):
    """The attempt does not fit into an environment."""


@dataclass(frozen=True, slots=True)
class Carried:
    """One attempt, as it travels.

    Attributes:
        conninfo: libpq string of the role `harbour_driver`, as it works where the driver runs.
        ticket: the attempt's first token.
        application: name of the file, without a folder.
        sha256: hash of `source`.
        source: the file's content.
        args: arguments of the application.
        environment: variables of the application, beside those that are there.
        unset: names of variables that it shall not have; a trailing ``*`` stands for any end.
        timeout_s: seconds of user code, or None.
        secrets: values that are replaced in the log.
        app_prefix: how the id of its Spark application must begin (``app-``), or nothing.
    """

    conninfo: str = field(repr=False)
    run_id: str
    attempt_id: str
    ticket: str = field(repr=False)
    application: str
    sha256: str
    source: bytes = field(repr=False)
    args: list[str]
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    unset: list[str] = field(default_factory=list)
    timeout_s: float | None = None
    secrets: list[str] = field(default_factory=list, repr=False)
    app_prefix: str = ""

    def pack(self) -> dict[str, str]:
        """The variables.

        Raises:
            TooLarge: there would be more of them than an environment takes.
        """
        if len(self.source) > MAX_SOURCE:
            raise TooLarge(f"The application has {len(self.source)} bytes; {MAX_SOURCE} can travel")
        values = asdict(self) | {"source": self.source.decode("latin-1")}
        text = base64.b64encode(zlib.compress(json.dumps(values).encode(), 9)).decode()
        parts = [text[at : at + PART] for at in range(0, len(text), PART)]
        if len(parts) > MAX_PARTS:
            raise TooLarge(
                f"The application and its arguments have {len(text)} bytes when packed; "
                f"{MAX_PARTS * PART} can travel"
            )
        return {f"{VARIABLE}{number}": part for number, part in enumerate(parts)}

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Carried:
        """Read the variables and remove them.

        Raises:
            KeyError: there are none.
        """
        names = sorted(
            (n for n in environ if n.startswith(VARIABLE) and n.removeprefix(VARIABLE).isdecimal()),
            key=lambda name: int(name.removeprefix(VARIABLE)),
        )
        if not names:
            raise KeyError(f"{VARIABLE}0")
        text = "".join(environ.pop(name) for name in names)
        values: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
        values["source"] = values["source"].encode("latin-1")
        return cls(**values)

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The application's environment, where `environ` is the supervisor's."""
        kept = {name: value for name, value in environ.items() if not self._is_unset(name)}
        return {**kept, **self.environment}

    def _is_unset(self, name: str) -> bool:
        return any(
            name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
            for pattern in self.unset
        )
