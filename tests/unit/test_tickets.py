from __future__ import annotations

import contextlib
import threading

import pytest

from dataharbour import tickets
from dataharbour.errors import NotAuthenticated

NOW = 1_000_000.0


def test_a_ticket_is_worth_its_token_once(tmp_path):
    ticket = tickets.issue(tmp_path, token="secret", now=NOW)
    assert tickets.redeem(tmp_path, ticket, now=NOW + 59) == "secret"
    with pytest.raises(NotAuthenticated):
        tickets.redeem(tmp_path, ticket, now=NOW + 59)
    assert list(tmp_path.iterdir()) == []


def test_a_ticket_older_than_a_minute_is_worth_nothing(tmp_path):
    ticket = tickets.issue(tmp_path, token="secret", now=NOW)
    with pytest.raises(NotAuthenticated) as caught:
        tickets.redeem(tmp_path, ticket, now=NOW + 61)
    assert "harbour open" in caught.value.remedy


@pytest.mark.parametrize("invented", ["", "x", "../../etc/passwd", "\0"])
def test_an_invented_ticket_is_refused(tmp_path, invented):
    with pytest.raises(NotAuthenticated):
        tickets.redeem(tmp_path, invented, now=NOW)


def test_of_many_who_bring_the_same_ticket_one_gets_in(tmp_path):
    ticket = tickets.issue(tmp_path, token="secret", now=NOW)
    gate, won = threading.Barrier(16), []

    def come() -> None:
        gate.wait()
        with contextlib.suppress(NotAuthenticated):
            won.append(tickets.redeem(tmp_path, ticket, now=NOW))

    threads = [threading.Thread(target=come) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == ["secret"]


def test_the_ticket_itself_is_not_stored_and_the_file_is_private(tmp_path):
    ticket = tickets.issue(tmp_path / "tickets", token="secret", now=NOW)
    (file,) = (tmp_path / "tickets").iterdir()
    assert ticket not in file.name
    assert ticket not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_tickets_that_nobody_used_do_not_pile_up(tmp_path):
    tickets.issue(tmp_path, token="old", now=NOW)
    tickets.issue(tmp_path, token="new", now=4_000_000_000.0)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_ticket_that_is_redeemed_while_another_is_made_does_no_harm(tmp_path):
    class Folder(type(tmp_path)):
        """Lists files that are gone by the time that somebody looks at them."""

        def iterdir(self):
            return iter([self / "redeemed", *super().iterdir()])

    assert tickets.issue(Folder(tmp_path), token="new", now=NOW)
