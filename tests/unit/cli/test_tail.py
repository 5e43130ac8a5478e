from __future__ import annotations

import pytest

from dataharbour.cli import tail as tail_module
from dataharbour.cli.tail import tail


@pytest.fixture
def meanwhile(monkeypatch):
    """What happens during each pause of `tail -f`; after the last one it is interrupted."""

    def set_up(*actions):
        left = list(actions)

        def pause(_seconds):
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr(tail_module.time, "sleep", pause)

    return set_up


def lines(first: int, last: int) -> str:
    return "".join(f"{n}\n" for n in range(first, last + 1))


def test_the_last_lines_are_printed(tmp_path, capsys):
    (tmp_path / "spark.log").write_text(lines(1, 100))
    tail(tmp_path, "spark", lines=3, follow=False)
    assert capsys.readouterr().out == lines(98, 100)


def test_no_line_is_lost_or_repeated_when_the_log_is_rotated(tmp_path, capsys, meanwhile):
    log, old = tmp_path / "spark.log", tmp_path / "spark.log.1"
    log.write_text(lines(1, 3))

    def rotate():
        with log.open("a") as stream:
            stream.write(lines(4, 5))
        log.rename(old)

    meanwhile(rotate, lambda: log.write_text(lines(6, 20)))
    with pytest.raises(KeyboardInterrupt):
        tail(tmp_path, "spark", lines=2, follow=True)
    assert capsys.readouterr().out == lines(2, 20)
