"""Decide what each argument of the Spark provider's `SparkSubmitOperator` becomes here.

Pure. A DAG that was written for that operator runs after its import is changed,
or says, when it is parsed, which argument cannot be honoured, why, and what to
write in its place. What it asks for by `conf` is checked when the run starts, as
for every run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from dataharbour.errors import ConfigError
from dataharbour.jobs.backends.names import NAME_LABEL, PROVIDER_CONN_ID

F = TypeVar("F", bound=Callable[..., None])


class Fate(StrEnum):
    """What becomes of an argument."""

    SAME = "the same"
    TRANSLATED = "translated"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one argument.

    Attributes:
        says: what it becomes, or why it is ignored or refused.
        remedy: what to write in its place; only of the refused.
        conf: the Spark setting that it is another name of, or None.
    """

    fate: Fate
    says: str
    remedy: str = ""
    conf: str | None = None


def _same(says: str) -> Decision:
    return Decision(Fate.SAME, says)


def _becomes(says: str) -> Decision:
    return Decision(Fate.TRANSLATED, says)


def _setting(key: str) -> Decision:
    return Decision(Fate.TRANSLATED, f"becomes the setting {key}", conf=key)


def _ignored(why: str) -> Decision:
    return Decision(Fate.IGNORED, why)


def _refused(why: str, remedy: str) -> Decision:
    return Decision(Fate.REFUSED, why, remedy)


_INSTALLATION = (
    "put it into the properties file of the installation (its name is the option spark_defaults)"
)
_CODE = "it puts code on the class path that nobody has pinned or checked"
_IDENTITY = "the identity on the cluster is the connection's, not the DAG author's"
_KERBEROS = "set principal and keytab in the extra of the backend's connection"
_SHIPPED = "only the application's main file is pinned by its hash and shipped"
_BESIDE = "put Python modules beside the application: they can be imported; put data into the lake"
_NO_JVM_WAITS = "no JVM waits for the run, and no worker polls: the driver reports"

# In the order of the provider's own signature; a test compares the two lists.
DECISIONS: Mapping[str, Decision] = {
    "application": _same("a .py file below the allowed folders"),
    "conf": _same("checked against the allow-list when the run starts"),
    "conn_id": _becomes("chooses the backend by the connection's master"),
    "files": _refused(_SHIPPED, "put the files into the lake, and give their names as arguments"),
    "py_files": _refused(_SHIPPED, _BESIDE),
    "archives": _refused(_SHIPPED, _BESIDE),
    "driver_class_path": _refused(_CODE, _INSTALLATION),
    "jars": _refused(_CODE, _INSTALLATION),
    "java_class": _refused("applications are Python files", "call it from a Python application"),
    "packages": _refused(f"{_CODE}, from the network at run time", _INSTALLATION),
    "exclude_packages": _refused("it belongs to packages", "leave it out"),
    "repositories": _refused("the driver would fetch code from there", "leave it out"),
    "total_executor_cores": _setting("spark.cores.max"),
    "executor_cores": _setting("spark.executor.cores"),
    "executor_memory": _setting("spark.executor.memory"),
    "driver_memory": _setting("spark.driver.memory"),
    "keytab": _refused(_IDENTITY, _KERBEROS),
    "principal": _refused(_IDENTITY, _KERBEROS),
    "proxy_user": _refused(
        _IDENTITY, "leave it out: the run carries the name of the Airflow user who started it"
    ),
    "name": _becomes("becomes the application's name in Spark, and the run's label name"),
    "num_executors": _setting("spark.executor.instances"),
    "status_poll_interval": _ignored(_NO_JVM_WAITS),
    "application_args": _becomes("become args; braces in them are no placeholders"),
    "env_vars": _refused(
        "a variable can load code into Python and the JVM before the application",
        "give the values as application_args",
    ),
    "verbose": _ignored("the driver's log is that of the run"),
    "spark_binary": _ignored("the backend knows its own spark-submit"),
    "properties_file": _refused(
        "a file of the worker would bring in settings unchecked",
        "give settings in conf, or put them into the file that spark_defaults names",
    ),
    "yarn_queue": _refused(
        "a queue is a share of the cluster, which the connection grants",
        "set queue in the extra of the connection dataharbour_yarn",
    ),
    "deploy_mode": _ignored("the backend says where the driver works; no worker is held for it"),
    "use_krb5ccache": _refused(_IDENTITY, _KERBEROS),
    "post_submit_commands": _refused(
        "they are shell commands on the worker",
        "make them a task of their own, downstream, with trigger_rule='all_done'",
    ),
    "track_driver_via_k8s_api": _ignored(_NO_JVM_WAITS),
    "yarn_track_via_rm_api": _ignored(_NO_JVM_WAITS),
    "yarn_rm_auth": _refused(_IDENTITY, _KERBEROS),
    "openlineage_inject_parent_job_info": _refused(
        "it sets spark.openlineage.* settings, which a run may not",
        "declare the tables as outputs: they are assets of the task",
    ),
    "openlineage_inject_transport_info": _refused(
        "it sets spark.openlineage.* settings, which a run may not",
        "put the transport into the file that spark_defaults names",
    ),
    "reconnect_on_retry": _ignored("a driver that lives is always taken up by the next try"),
    "durable": _ignored("a driver that lives is always taken up by the next try"),
}

OURS = tuple(name for name, made in DECISIONS.items() if made.fate is Fate.SAME)
MORE = tuple(name for name in DECISIONS if name not in OURS)


@dataclass(frozen=True)
class SubmitArguments:
    """What was given of the provider's arguments.

    Attributes:
        conn_id: the connection that chooses the backend; None when nothing says
            that the DAG was written for the provider's operator.
        conf: the settings that arguments are other names of.
        application_args: as given; rendered by Airflow later.
        ignored: the names of arguments that have no effect here.
    """

    conn_id: str | None = None
    conf: Mapping[str, str] = field(default_factory=dict)
    application_args: list[Any] | None = None
    name: str | None = None
    ignored: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """What the task log tells of the ignored ones."""
        return [f"{name} has no effect here: {DECISIONS[name].says}." for name in self.ignored]


def with_submit_arguments(init: F) -> F:
    """Let `init` be called with the provider's arguments: they reach its ``**kwargs``.

    Airflow takes from the signature which arguments `default_args` may fill, and
    which may be mapped.
    """
    own = inspect.signature(init)
    *named, rest = own.parameters.values()
    more = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None) for n in MORE]
    init.__signature__ = own.replace(parameters=[*named, *more, rest])  # type: ignore[attr-defined]
    return init


def take_submit_arguments(kwargs: dict[str, Any]) -> SubmitArguments:
    """Take the provider's arguments out of `kwargs`; empty ones count as not given.

    Raises:
        ConfigError: one of them cannot be honoured.
    """
    found = {name: kwargs.pop(name) for name in MORE if name in kwargs}
    given = {name: value for name, value in found.items() if value not in (None, "", False)}
    given = {name: value for name, value in given.items() if value not in ([], {}, ())}
    for name in given:
        if DECISIONS[name].fate is Fate.REFUSED:
            raise _no(name)
    settings = ((DECISIONS[name].conf, value) for name, value in given.items())
    return SubmitArguments(
        conn_id=given.get("conn_id") or (PROVIDER_CONN_ID if given else None),
        conf={key: str(value) for key, value in settings if key is not None},
        application_args=given.get("application_args"),
        name=given.get("name"),
        ignored=tuple(n for n in given if DECISIONS[n].fate is Fate.IGNORED),
    )


def literal_args(application_args: list[Any]) -> tuple[str, ...]:
    """The arguments as `RunRequest.args`: their braces are just braces."""
    return tuple(str(arg).replace("{", "{{").replace("}", "}}") for arg in application_args)


def labels_with_name(labels: Mapping[str, str], name: str | None) -> dict[str, str]:
    """The labels of the run, with Spark's name for it as one of them."""
    return {**({NAME_LABEL: name} if name else {}), **labels}


def _no(name: str) -> ConfigError:
    made = DECISIONS[name]
    return ConfigError(
        f"SparkJobOperator does not take {name}: {made.says}.",
        f"{made.remedy[0].upper()}{made.remedy[1:]}. docs/guides/from-spark-submit-operator.md "
        "tells of every argument.",
    )
