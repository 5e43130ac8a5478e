import pytest

from dataharbour.api.routes.health import overall


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (["healthy", "healthy", "off"], "healthy"),
        (["healthy", "unknown", "off"], "unknown"),
        (["degraded", "unknown", "healthy"], "degraded"),
        (["down", "degraded", "healthy"], "down"),
    ],
)
def test_the_whole_is_as_bad_as_its_worst_part(words, whole):
    assert overall({str(i): word for i, word in enumerate(words)}) == whole
