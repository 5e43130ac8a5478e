"""The errors that DataHarbour expects, each with a remedy.

DataHarbourError                 code
├── ConfigError                  config
│   ├── ConfNotAllowed           conf-not-allowed
│   ├── JobInvalid               job-invalid
│   └── SecretInRequest          secret-in-request
├── NotFound                     not-found
│   ├── RunNotFound              run-not-found
│   ├── ArtifactNotFound         artifact-not-found
│   ├── JobNotFound              job-not-found
│   └── ApplicationNotFound      application-not-found
├── ApplicationNotAllowed        application-not-allowed
├── Conflict                     conflict
│   ├── JobBusy                  job-busy
│   ├── Stale                    stale
│   ├── VaultBusy                vault-busy
│   └── IdempotencyConflict      idempotency-conflict
├── NotAuthenticated             not-authenticated
├── Forbidden                    forbidden
├── LimitReached                 limit-reached     (later, when others have ended)
├── Unavailable                  unavailable       (retryable: a service did not answer)
├── BackupCorrupt                backup-corrupt    (what is kept is not what was written)
├── JobFailed                    job-failed        (the run ended, and not well)
│   ├── QualityFailed            quality-failed
│   └── QualityUnchecked         quality-unchecked
└── PlatformError                platform          (the embedded platform could not do it)
"""

from __future__ import annotations

from typing import ClassVar


class DataHarbourError(Exception):
    """An expected failure: what went wrong, and what the reader can do about it.

    Both parts are positional so that the error survives pickling between
    Airflow processes. Neither ever holds a secret.
    """

    code: ClassVar[str] = "error"  # stable; machines match on this, never on the text

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n  remedy: {self.remedy}"


class ConfigError(DataHarbourError):
    """A setting, a connection or a YAML file says something that cannot be."""

    code = "config"


class ConfNotAllowed(ConfigError):
    """A Spark conf key that a job may not set, or a value outside its range."""

    code = "conf-not-allowed"


class JobInvalid(ConfigError):
    """A job file that does not follow its schema."""

    code = "job-invalid"


class SecretInRequest(ConfigError):
    """A request, or a job, holds a secret in clear."""

    code = "secret-in-request"


class NotFound(DataHarbourError):
    """The thing that was named does not exist, or the caller may not see it."""

    code = "not-found"


class RunNotFound(NotFound):
    """No run with that id."""

    code = "run-not-found"


class ArtifactNotFound(NotFound):
    """The run has no file of that name."""

    code = "artifact-not-found"


class JobNotFound(NotFound):
    """No declared job of that name."""

    code = "job-not-found"


class ApplicationNotFound(NotFound):
    """No application file of that name below an allowed root."""

    code = "application-not-found"


class ApplicationNotAllowed(DataHarbourError):
    """An application outside the allowed roots."""

    code = "application-not-allowed"


class Conflict(DataHarbourError):
    """The request contradicts what is already there."""

    code = "conflict"


class JobBusy(Conflict):
    """As many runs of the job are active as may be."""

    code = "job-busy"


class Stale(Conflict):
    """The thing has changed since the caller read it."""

    code = "stale"


class VaultBusy(Conflict):
    """Somebody else holds the vault's lease, or has taken it."""

    code = "vault-busy"


class IdempotencyConflict(Conflict):
    """The same Idempotency-Key with another request."""

    code = "idempotency-conflict"


class NotAuthenticated(DataHarbourError):
    """The caller has not said who they are, or could not prove it."""

    code = "not-authenticated"


class Forbidden(DataHarbourError):
    """The caller is known, and may not do this."""

    code = "forbidden"


class LimitReached(DataHarbourError):
    """The caller has as many of these as one may have at a time."""

    code = "limit-reached"


class Unavailable(DataHarbourError):
    """A service did not answer; the same call may work later."""

    code = "unavailable"


class BackupCorrupt(DataHarbourError):
    """An object of the vault that is not what was written there."""

    code = "backup-corrupt"


class JobFailed(DataHarbourError):
    """A run that ended without success."""

    code = "job-failed"


class QualityFailed(JobFailed):
    """A staged result that broke a rule of its expectations suite."""

    code = "quality-failed"


class QualityUnchecked(JobFailed):
    """A staged result of which nothing is known: a rule could not be evaluated on it."""

    code = "quality-unchecked"


class PlatformError(DataHarbourError):
    """The embedded platform could not do what was asked."""

    code = "platform"
