from __future__ import annotations

import re

from dataharbour import errors


def lines(kind: type[errors.DataHarbourError], depth: int = 0) -> list[tuple[int, str, str]]:
    """A class and those below it, as the tree of the docstring has them."""
    below = [k for k in kind.__subclasses__() if k.__module__ == errors.__name__]
    return [(depth, kind.__name__, kind.code), *(n for k in below for n in lines(k, depth + 1))]


def test_the_tree_shows_every_error_at_its_place():
    assert errors.__doc__ is not None
    drawn = re.findall(r"^([│ ]*)[├└]── (\w+) +([a-z-]+)", errors.__doc__, flags=re.MULTILINE)
    tree = [(1 + len(above) // 4, name, code) for above, name, code in drawn]
    assert tree == lines(errors.DataHarbourError)[1:]
