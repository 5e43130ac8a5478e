from __future__ import annotations

import pytest

from dataharbour.jobs.driver.causes import explain, headline


class AnalysisException(Exception):
    """As pyspark's errors answer."""

    def __init__(self, text: str, condition: str | None, state: str | None) -> None:
        super().__init__(text)
        self._answers = condition, state

    def getCondition(self):
        return self._answers[0]

    def getSqlState(self):
        return self._answers[1]


class PythonException(AnalysisException):
    pass


class JavaError:
    def __init__(self, text: str, cause: JavaError | None = None) -> None:
        self.text, self.cause = text, cause

    def getCause(self):
        return self.cause

    def toString(self):
        return self.text


class Py4JJavaError(Exception):
    def __init__(self, java: JavaError) -> None:
        super().__init__("An error occurred while calling o12.count.")
        self.java_exception = java


def raised(function) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_explicit_cause_is_the_root():
    def work():
        try:
            {}["k"]
        except KeyError as error:
            raise RuntimeError("no row") from error

    failure_class, message = explain(raised(work))
    assert failure_class == "USER_ERROR"
    assert message.splitlines()[:2] == ["KeyError: 'k'", "raised as: RuntimeError: no row"]
    assert "Traceback" in message


def test_an_error_while_cleaning_up_does_not_hide_the_first_one():
    def work():
        try:
            raise ValueError("the real one")
        finally:
            raise OSError("while closing")

    assert explain(raised(work))[1].startswith("ValueError: the real one\n")


def test_from_none_ends_the_chain():
    def work():
        try:
            raise ValueError("internal")
        except ValueError:
            raise RuntimeError("what the author wants said") from None

    assert explain(raised(work))[1].startswith("RuntimeError: what the author wants said\n")


def test_a_condition_of_spark_is_named_once():
    text = "[PATH_NOT_FOUND] Path does not exist: file:/x. SQLSTATE: 42K03\n\nJVM stacktrace:"
    error = AnalysisException(text, "PATH_NOT_FOUND", "42K03")
    assert headline(error) == (
        "PATH_NOT_FOUND (42K03): Path does not exist: file:/x. SQLSTATE: 42K03"
    )


def test_an_empty_first_line_is_skipped():
    assert headline(RuntimeError("\n\n  real text")) == "RuntimeError: real text"
    assert headline(RuntimeError()) == "RuntimeError"


def test_the_error_of_a_python_worker_is_the_cause():
    text = (
        "\n  An exception was thrown from the Python worker. Please see the stack trace below.\n"
        "Traceback (most recent call last):\n"
        '  File "/x.py", line 3, in divide\n'
        "ZeroDivisionError: division by zero\n"
    )
    assert headline(PythonException(text, None, None)) == "ZeroDivisionError: division by zero"


def test_an_error_without_words_is_a_cause_too():
    text = "\n  An exception was thrown from the Python worker:\nTraceback …\nMemoryError\n"
    assert headline(PythonException(text, "PYTHON_EXCEPTION", "38000")) == "MemoryError"


def test_the_innermost_java_exception_is_the_cause():
    inner = JavaError('java.lang.NumberFormatException: For input string: "x"')
    error = Py4JJavaError(JavaError("org.apache.spark.SparkException: Job aborted", inner))
    assert headline(error) == 'java.lang.NumberFormatException: For input string: "x"'


def test_a_jvm_that_is_gone_still_gives_a_headline():
    error = Py4JJavaError(JavaError("x"))
    error.java_exception.getCause = lambda: 1 / 0
    assert headline(error) == "Py4JJavaError: An error occurred while calling o12.count."


@pytest.mark.parametrize(
    ("error", "failure_class"),
    [
        (MemoryError(), "OUT_OF_MEMORY"),
        (Py4JJavaError(JavaError("java.lang.OutOfMemoryError: Java heap space")), "OUT_OF_MEMORY"),
        (RuntimeError("<_MultiThreadedRendezvous … StatusCode.UNAVAILABLE"), "INFRA"),
        (RuntimeError("[INVALID_HANDLE.SESSION_NOT_FOUND] The handle"), "INFRA"),
        (OSError("[Errno 28] No space left on device"), "INFRA"),
        (RuntimeError("[OPERATION_CANCELED] Operation was canceled"), "CANCELLED"),
        (KeyError("x"), "USER_ERROR"),
    ],
)
def test_the_class_says_who_can_mend_it(error, failure_class):
    assert explain(error)[0] == failure_class


def test_what_connect_lacks_names_the_other_lane():
    message = explain(RuntimeError("[JVM_ATTRIBUTE_NOT_SUPPORTED] Attribute `_jvm`"))[1]
    assert "backend local" in message


def test_an_exception_that_cannot_be_printed_is_still_reported():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no")

    assert explain(Mute())[1].startswith("Mute\n")


def test_a_ring_of_causes_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert explain(first)[1].startswith("ValueError: b")


def test_a_huge_text_is_cut():
    assert len(explain(RuntimeError("x" * 1_000_000))[1]) <= 100_000
