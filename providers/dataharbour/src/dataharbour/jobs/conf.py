"""Decide which Spark settings a job may choose, and within which range.

Pure. An allow-list: whoever sets class paths, JVM options, extensions or
credentials runs code outside the application that was pinned and checked
(the keys behind past advisories are of that kind). Everything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import available_timezones

from dataharbour.errors import ConfNotAllowed

CONNECT = "connect"

_SIZE = re.compile(r"([0-9]{1,9})([kmg])b?", re.IGNORECASE)
_FACTOR = {"k": 2**10, "m": 2**20, "g": 2**30}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a key may be.

    Attributes:
        says: the legal values, for people.
        accepts: whether a text is one of them.
        own_spark: the key is fixed when Spark starts, so only a backend that
            starts one for the run can honour it.
    """

    says: str
    accepts: Callable[[str], bool]
    own_spark: bool = False


def _whole(low: int, high: int, *, own_spark: bool = False) -> Rule:
    def accepts(text: str) -> bool:
        return re.fullmatch(r"[0-9]{1,12}", text) is not None and low <= int(text) <= high

    return Rule(f"a whole number from {low} to {high}", accepts, own_spark)


def _size(low: str, high: str, *, off: bool = False, own_spark: bool = False) -> Rule:
    def accepts(text: str) -> bool:
        match = _SIZE.fullmatch(text)
        if match is None:
            return off and text == "-1"
        return size_bytes(low) <= size_bytes(text) <= size_bytes(high)

    said = f"a size from {low} to {high}, such as {low}"
    return Rule(said + (", or -1 for off" if off else ""), accepts, own_spark)


def _one_of(*words: str) -> Rule:
    return Rule(f"one of {', '.join(words)}", lambda text: text in words)


def is_size(text: str) -> bool:
    """Whether `text` is a size as Spark writes it: ``512m``, ``2g``."""
    return _SIZE.fullmatch(text) is not None


def size_bytes(text: str) -> int:
    """The bytes of a size as Spark writes it.

    >>> size_bytes("2g")
    2147483648
    """
    match = _SIZE.fullmatch(text)
    assert match is not None, f"{text} is a size"
    return int(match[1]) * _FACTOR[match[2].lower()]


_SWITCH = _one_of("true", "false")

# Ranges: generous for the largest machine that a team of this size runs, and
# small enough that a typing error is caught.
ALLOWED: Mapping[str, Rule] = {
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": _size("1m", "1g"),
    "spark.sql.adaptive.coalescePartitions.enabled": _SWITCH,
    "spark.sql.adaptive.enabled": _SWITCH,
    "spark.sql.adaptive.skewJoin.enabled": _SWITCH,
    "spark.sql.ansi.enabled": _SWITCH,
    "spark.sql.autoBroadcastJoinThreshold": _size("1k", "1g", off=True),
    "spark.sql.broadcastTimeout": _whole(1, 3_600),
    "spark.sql.caseSensitive": _SWITCH,
    "spark.sql.execution.arrow.maxRecordsPerBatch": _whole(1, 1_000_000),
    "spark.sql.execution.arrow.pyspark.enabled": _SWITCH,
    "spark.sql.files.maxPartitionBytes": _size("1m", "1g"),
    "spark.sql.files.maxRecordsPerFile": _whole(0, 1_000_000_000),
    "spark.sql.parquet.compression.codec": _one_of("snappy", "zstd", "gzip", "lz4", "none"),
    "spark.sql.parquet.outputTimestampType": _one_of("INT96", "TIMESTAMP_MICROS"),
    "spark.sql.session.timeZone": Rule(
        "an IANA time zone, such as Europe/Zurich", lambda text: text in available_timezones()
    ),
    "spark.sql.shuffle.partitions": _whole(1, 10_000),
    "spark.sql.sources.partitionOverwriteMode": _one_of("static", "dynamic"),
    "spark.cores.max": _whole(1, 1_000, own_spark=True),
    "spark.default.parallelism": _whole(1, 10_000, own_spark=True),
    "spark.driver.cores": _whole(1, 128, own_spark=True),
    "spark.driver.maxResultSize": _size("1m", "64g", own_spark=True),
    "spark.driver.memory": _size("512m", "256g", own_spark=True),
    "spark.executor.cores": _whole(1, 128, own_spark=True),
    "spark.executor.instances": _whole(1, 1_000, own_spark=True),
    "spark.executor.memory": _size("512m", "256g", own_spark=True),
    "spark.executor.memoryOverhead": _size("128m", "64g", own_spark=True),
}


def check_conf(conf: Mapping[str, Any], *, backend: str | None = None) -> dict[str, str]:
    """The settings as Spark takes them, all as text.

    Args:
        conf: key and value, as a job file or a request has them.
        backend: where the job shall run; None when that is not known yet.

    Raises:
        ConfNotAllowed: a key is not on the list, its value is outside the range,
            or the backend cannot honour it.
    """
    return {key: _checked(key, value, backend) for key, value in conf.items()}


def _checked(key: str, value: Any, backend: str | None) -> str:
    rule = ALLOWED.get(key)
    if rule is None:
        raise ConfNotAllowed(
            f"The Spark setting {key[:200]!r} may not be set by a job.",
            f"Allowed are: {', '.join(allowed(backend))}. All others belong to the "
            "installation: [dataharbour] spark_defaults.",
        )
    text = _text(value)
    if not rule.accepts(text):
        raise ConfNotAllowed(
            f"The Spark setting {key} cannot be {text[:200]!r}.", f"Give {rule.says}."
        )
    if rule.own_spark and backend == CONNECT:
        raise ConfNotAllowed(
            f"The Spark setting {key} ({text}) has no effect on the backend connect, "
            "whose Spark runs already.",
            "Leave it out, or run the job on the backend local.",
        )
    return text


def allowed(backend: str | None = None) -> list[str]:
    """The keys that a job may set on a backend, in order."""
    return sorted(k for k, rule in ALLOWED.items() if backend != CONNECT or not rule.own_spark)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
