"""Decide what looks like a secret: to refuse it in requests, and to hide it where they are shown.

Pure. A request's values are kept and shown in many places (the run's row, the DAG run, the driver's
command line), so a secret among them is refused, by its place and never by its value. What is
shown is searched again: texts of others (Airflow, a library) may repeat what they were given.

Source: docs/decisions/0014-secrets-in-requests.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import Any

from dataharbour.errors import SecretInRequest
from dataharbour.jobs.json_pointer import step
from dataharbour.jobs.model import RunRequest

HIDDEN = "***"
_numbers = count()


def _once(pattern: str) -> str:
    """Read what matches once, and give nothing of it back.

    What ``(?>...)`` means; Python 3.11.2, Debian 12's, misreads that, ``(...)++`` and ``(...)*+``
    where there are alternatives within.
    """
    group = f"once{next(_numbers)}"
    return f"(?=(?P<{group}>{pattern}))(?P={group})"


# The shapes of credentials that say themselves what they are.
_TOKENS = (
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS access key id
    r"\bgh[pousr]_[0-9A-Za-z]{36,251}\b|\bgithub_pat_[0-9A-Za-z_]{22,251}\b",
    r"\bglpat-[0-9A-Za-z_-]{20,250}",
    r"\bxox[abeoprs]-[0-9A-Za-z-]{10,250}|https://hooks\.slack\.com/services/[0-9A-Za-z/]{10,250}",
    # A JWT. Each piece between points is read once, from its beginning, and nothing is given back.
    r"(?<![0-9A-Za-z_-])"
    + _once(r"(?:[0-9A-Za-z_-]*?\b)??eyJ")
    + r"[0-9A-Za-z_-]{8,}+\.eyJ[0-9A-Za-z_-]{8,}+\.[0-9A-Za-z_-]{8,}+",
    r"\bAIza[0-9A-Za-z_-]{35}\b",  # Google API key
    r"\b(?:sk|rk)_live_[0-9A-Za-z]{16,250}|\bsk-(?:(?:ant|proj)-[0-9A-Za-z_-]{32,250}|[0-9A-Za-z]{40,250})",
    r"\b(?:pypi|npm)[-_][0-9A-Za-z_-]{36,500}\b",
    r"\bAGE-SECRET-KEY-1[0-9A-Z]{40,80}\b",
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
    r"(?:[^-]{0,20000}-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----)?",
)
_TOKEN = re.compile("|".join(_TOKENS))
_WORDS = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|credentials?|jwt|authorization|bearer|"
    r"(?:api|access|secret|private|account|auth|encryption|signing)[ _.-]?key|apikey|sas)"
)
# A name ends in such a word; in these also where nothing parts it from what is before: PGPASSWORD.
_GLUED = r"(?:[0-9a-z]{1,40}?(?:pass(?:word|wd|phrase)|secret))"
_ENDING = rf"(?:{_WORDS}|{_GLUED})"
# name=value, name:value, "name": value; the value is what follows the first group. In prose a colon
# is followed by words, so "name: value" counts where nothing follows it on the line.
_NAMED = rf"(?i)(?<![0-9a-z])({_ENDING}"
_WHOLE = rf"(?:[0-9a-z]{{1,40}}[_.-]){{0,6}}{_ENDING}"
_QUOTE = r"(?:\\?[\"'])"
_OPENING = _once(r"(?:(?:[bfru]{1,2}|\$)?(?:\"\"\"|'''|\\?[\"']))?")


def _quoted(quote: str, *inside: str) -> str:
    """What stands in quotes, up to their end, or to that of the line where they have none.

    A quote may also be the end of the text that names the secret ("--token=" is missing): what
    begins as such a text would go on is a value only where that has the end of one, too.

    Args:
        quote: which, as it is written.
        inside: what else of quotes and backslashes is part of the value.
    """
    part = "|".join([*inside, r"[^\"'\\\r\n]", r"[\"']".replace(quote[-1], "")])
    odd = r"[\s,;:.)}\]&?!+|>\"']"
    plainly = _once(rf"(?:{part}|{quote}{quote}|{quote}(?=\w))+")
    oddly = _once(rf"(?:{part})+")
    return (
        rf"(?<={quote})(?:(?!{odd}){plainly}"
        rf"|(?={odd}){oddly}(?<![\s,;:.(\[{{=+|&])(?={quote}(?![\w\"'$@-])))"
    )


# As JSON, Python and shells write them; after \\" (JSON in JSON) to the next of that kind. Each is
# read once, and nothing is given back.
_QUOTED = "|".join(
    [
        _quoted(r"\\\"", r"\\{4}", r"\\{3}\"", r"\\(?!\")"),
        _quoted(r"\\'", r"\\{4}", r"\\{3}'", r"\\(?!')"),
        _quoted(r"\"", r"\\."),
        _quoted("'", r"\\?'(?:\"'\"|\\')'", r"\\."),
    ]
)
_PLAIN = r"(?:(?:bearer|basic|digest)\s)?" + _once(
    r"(?:\\\s|[^\s\"'&;,}\]\\]|\\|(?<=\w)[\"'](?=\w))+"
)
_NO_PLACEHOLDER = r"(?!\{\{?[\w. ]{0,80}\}|\$\{|\*\*\*)"
_VALUE = rf"{_NO_PLACEHOLDER}(?:{_QUOTED}|{_PLAIN})"
_PAIR = re.compile(_NAMED + rf"(?:{_QUOTE}?\s?=\s?|{_QUOTE}\s?:\s?|:(?!/)){_OPENING})" + _VALUE)
_LINE = re.compile(
    _NAMED + rf":[ \t]{_OPENING})" + _VALUE + rf"{_QUOTE}?[ \t]{{0,20}}(?=[\r\n,;}}\]]|\Z)"
)
# A password may hold an @, and so may a user's name: the last one parts them from the host. One
# with / ? or # makes no address, and is written all the same; what follows a colon may be a port.
_ADDRESS = r"(?i)\b([a-z][0-9a-z+.-]{0,30}://"
_ODD = r"\{(?!\{?[\w. ]{0,80}\})|(?<=\w)[\"'](?=\w)"


def _password() -> str:
    """To the next @ or the end of the word; in new groups, so an expression may have several."""
    return _once(rf"(?:[^\s/?#@\"'{{]|{_ODD})*")


_TO_THE_LAST = _once(rf"(?:{_password()}@(?={_password()}@))*") + rf"{_password()}(?=@)"
_USERINFO = re.compile(
    rf"{_ADDRESS}[^\s/?#:\"'\[]{{0,250}}:){_NO_PLACEHOLDER}(?!@(?!{_password()}@)){_TO_THE_LAST}"
)
_WITH_SLASH = re.compile(
    rf"{_ADDRESS}[^\s/?#:@.\"'\[]{{1,100}}:){_NO_PLACEHOLDER}(?![/@]|[0-9]{{1,5}}[,/?#])"
    + _once(rf"(?:[^\s@\"'{{:]|:(?!//)|{_ODD})+")
    + _once(rf"(?:@(?={_password()}@){_password()})*")
    + "(?=@)"
)
# What stands where the value of a flag would: another flag, --so or -s.
_NO_VALUE = r"(?:--[a-z][0-9a-z]*(?:[-_.][0-9a-z]+)*|-[a-z])(?![^\s\"'=\\])"
# --flag value, and '--flag', 'value' as Python and JSON show a command line.
_FLAGGED = re.compile(
    rf"(?i)(?<![^\s\"'\[(,=])(--?{_WHOLE}"
    rf"(?:{_QUOTE}(?:,\s{{0,20}}(?={_QUOTE})|,?\s{{1,20}})|\s{{1,20}}){_OPENING})(?!{_NO_VALUE})"
    + _VALUE
)
_BEARER = re.compile(r"(?i)\b((?:bearer|basic)\s)([0-9a-z._~+/=-]{16,4000})")

_PAIRS = (_PAIR, _LINE, _FLAGGED, _USERINFO, _WITH_SLASH, _BEARER)

_NAME = re.compile(rf"(?i)(?:^|.*[^0-9a-z]){_ENDING}$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLACEHOLDER = re.compile(r"\s*(?:\{[\w. ]{1,80}\}|\*{3})?\s*")
_VALUES = ("application", "args", "conf", "labels")
_VALUES_OF_SCHEMAS = frozenset({"default", "examples", "example", "enum", "const"})
_FLAG = re.compile(r"--?([0-9A-Za-z][0-9A-Za-z_.-]{0,80})")
_ANOTHER_FLAG = re.compile(rf"(?i)(?:{_NO_VALUE})")


def is_secret_name(name: str) -> bool:
    """Whether a value of this name is a secret, whatever it is.

    >>> [is_secret_name(n) for n in ("dbPassword", "api_key", "partition_key", "max_tokens")]
    [True, True, False, False]
    """
    return _NAME.fullmatch(_CAMEL.sub("_", name[-200:])) is not None


def holds_secret(text: str) -> bool:
    """Whether a text holds what looks like a credential."""
    return any(pattern.search(text) for pattern in (_TOKEN, *_PAIRS))


def redact_text(text: str) -> str:
    """The text with ``***`` in place of what looks like a credential."""
    text = _TOKEN.sub(HIDDEN, text)
    for pattern in _PAIRS:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def redact(value: Any, *, name: str = "") -> Any:
    """A JSON value as it may be shown: secrets in it, and values of secret names, are hidden."""
    if isinstance(value, Mapping):
        return {key: redact(inner, name=str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        flagged = set(_after_flags(value))
        return [HIDDEN if n in flagged else redact(v, name=name) for n, v in enumerate(value)]
    if _is_secret(value, name):
        return HIDDEN
    return redact_text(value) if isinstance(value, str) else value


def refuse_secrets(values: Mapping[str, Any]) -> None:
    """Refuse values that hold a secret; in a list, the value after ``--password`` is one, too.

    Args:
        values: by the name of their field, as the request had it.

    Raises:
        SecretInRequest: with the place, as a JSON pointer; the value is not repeated.
    """
    for field, value in values.items():
        _refuse(next(_secrets(value, f"/{field}", name=""), None))


def check_request(request: RunRequest) -> None:
    """`refuse_secrets` for a run.

    Raises:
        SecretInRequest: one of its values holds a secret.
    """
    refuse_secrets(
        {
            "application": request.application,
            "args": request.args,
            "conf": request.conf,
            "params": request.params,
            "labels": request.labels,
        }
    )


def check_definition(document: Mapping[str, Any]) -> None:
    """`refuse_secrets` for the document of a job.

    Of the schemas of its params, only what gives values is read so; in its texts for people
    only what is plainly a credential counts.

    Raises:
        SecretInRequest: one of its values holds a secret.
    """
    refuse_secrets({field: document[field] for field in _VALUES if field in document})
    params = document.get("params")
    for name, schema in params.items() if isinstance(params, Mapping) else ():
        for key in _VALUES_OF_SCHEMAS & set(schema if isinstance(schema, Mapping) else ()):
            place = f"/params{step(name)}/{key}"
            _refuse(next(_secrets(schema[key], place, name=str(name)), None))
    _refuse(next(_tokens(document, ""), None))


def _secrets(value: Any, place: str, *, name: str) -> Iterator[str]:
    """The places of secrets in a JSON value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str) and holds_secret(key):
                yield f"{place} (a name in it)"
            else:
                yield from _secrets(inner, f"{place}{step(key)}", name=str(key))
    elif isinstance(value, list | tuple):
        flagged = set(_after_flags(value))
        for number, inner in enumerate(value):
            if number in flagged:
                yield f"{place}/{number}"
            else:
                yield from _secrets(inner, f"{place}/{number}", name=name)
    elif _is_secret(value, name) or (isinstance(value, str) and holds_secret(value)):
        yield place


def _tokens(value: Any, place: str) -> Iterator[str]:
    """The places of credentials that say themselves what they are."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tokens(str(key), f"{place}{step(key)}")
            yield from _tokens(inner, f"{place}{step(key)}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _tokens(inner, f"{place}/{number}")
    elif isinstance(value, str) and _TOKEN.search(value):
        yield place


def _refuse(place: str | None) -> None:
    if place is not None:
        raise SecretInRequest(
            f"{place} holds what looks like a secret; what is sent here is kept and shown.",
            "Keep it in a file or a service that only the application's account reads, and give "
            "its name. What counts as one: docs/decisions/0014-secrets-in-requests.md.",
        )


def _is_secret(value: Any, name: str) -> bool:
    """Whether a value is secret by its name; an empty one and a placeholder are not."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return is_secret_name(name) and _PLACEHOLDER.fullmatch(str(value)) is None


def _after_flags(values: Sequence[Any]) -> Iterator[int]:
    """The positions of values that stand alone after a flag such as ``--password``."""
    for number, (flag, value) in enumerate(pairwise(values), start=1):
        match = _FLAG.fullmatch(flag) if isinstance(flag, str) else None
        is_flag = isinstance(value, str) and _ANOTHER_FLAG.match(value)
        if match and not is_flag and _is_secret(value, match[1]):
            yield number
