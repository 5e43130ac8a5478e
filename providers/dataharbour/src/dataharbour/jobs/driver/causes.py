"""Find the root cause of an exception, and who can mend it.

Pure: standard library only, and no name of Spark's is imported; it runs in the
process of the application.
"""

from __future__ import annotations

import re
import traceback

_MAX_TEXT = 100_000  # the supervisor takes the secrets out, then cuts to what is kept
_ERROR_LINE = re.compile(
    r"(?:[A-Za-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Exit|Interrupt))(?:: ?(.*))?$"
)

_MEMORY = re.compile(r"OutOfMemoryError|\bMemoryError\b|GC overhead limit|Cannot allocate memory")
_INFRA = re.compile(
    r"StatusCode\.(?:UNAVAILABLE|UNAUTHENTICATED|DEADLINE_EXCEEDED)|UNAUTHENTICATED"
    r"|INVALID_HANDLE\.SESSION_|INVALID_HANDLE\.OPERATION_|SESSION_NOT_FOUND|SESSION_CLOSED"
    r"|NO_ACTIVE_SESSION|RESPONSE_ALREADY_RECEIVED|RETRIES_EXCEEDED|Py4JNetworkError"
    r"|failed to connect to all addresses|No space left on device"
    r"|SparkContext was shut down|because SparkContext is shutting down"
)
_CANCELLED = re.compile(r"OPERATION_CANCELED")
_CONNECT_LACKS = re.compile(r"JVM_ATTRIBUTE_NOT_SUPPORTED|\[NOT_IMPLEMENTED\]")


def explain(error: BaseException) -> tuple[str, str]:
    """The failure class and the message; its first line is the root cause.

    Args:
        error: what the application let out.
    """
    chain = _chain(error)
    root = headline(chain[-1])
    lines = [root]
    if chain[-1] is not error and (outer := headline(error)) != root:
        lines.append(f"raised as: {outer}")
    everything = "\n".join(f"{type(link).__name__}: {_text(link)}" for link in chain)
    if _CONNECT_LACKS.search(everything):
        lines.append("Spark Connect does not have this: run the job on the backend local.")
    lines.append("".join(traceback.format_exception(error)).rstrip())
    return _class_of(everything), "\n".join(lines)[:_MAX_TEXT]


def headline(error: BaseException) -> str:
    """One line on one exception: its condition where Spark gave one, else type and text."""
    text = _text(error)
    condition, state = _asked(error, "getCondition"), _asked(error, "getSqlState")
    worker = _last_error_line(text) if type(error).__name__ == "PythonException" else None
    if worker is not None:
        return worker
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if condition:
        first = first.removeprefix(f"[{condition}]").strip()
        return f"{condition}{f' ({state})' if state else ''}: {first}"
    if first and _deepest_java(error):
        return first  # it begins with the name of the Java exception
    name = type(error).__name__
    return f"{name}: {first}" if first else name


def _chain(error: BaseException) -> list[BaseException]:
    """From the exception to its deepest cause.

    An explicit cause (`raise … from`) goes before the context in which an
    exception happened to be raised; `from None` ends the chain.
    """
    chain = [error]
    while True:
        last = chain[-1]
        deeper = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if deeper is None or deeper in chain:
            return chain
        chain.append(deeper)


def _text(error: BaseException) -> str:
    try:
        return _deepest_java(error) or str(error)
    except Exception:  # an exception whose __str__ raises must not hide the failure
        return ""


def _deepest_java(error: BaseException) -> str | None:
    """The innermost Java exception of a Py4JJavaError, asked over its gateway."""
    java = getattr(error, "java_exception", None)
    if java is None:
        return None
    try:
        for _ in range(20):
            cause = java.getCause()
            if cause is None:
                break
            java = cause
        return str(java.toString())
    except Exception:  # the JVM may be gone by now
        return None


def _asked(error: BaseException, method: str) -> str | None:
    """What an exception of Spark answers to `getCondition` or `getSqlState`."""
    try:
        value = getattr(error, method)()
    except Exception:  # other exceptions have no such method, some of Spark's raise in it
        return None
    return value if isinstance(value, str) else None


def _last_error_line(text: str) -> str | None:
    """The error of a Python worker, from the traceback that Spark passes on as text."""
    found = None
    for line in text.splitlines():
        match = _ERROR_LINE.match(line.strip())
        if match and match[1] != "PythonException":
            found = f"{match[1]}: {match[2] or ''}".rstrip(": ")
    return found


def _class_of(text: str) -> str:
    if _MEMORY.search(text):
        return "OUT_OF_MEMORY"
    if _CANCELLED.search(text):
        return "CANCELLED"
    if _INFRA.search(text):
        return "INFRA"
    return "USER_ERROR"
