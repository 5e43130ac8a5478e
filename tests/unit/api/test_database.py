import pytest

from dataharbour.api.database import CONNINFO_TTL_S, Database
from dataharbour.api.problems import NotConfigured
from dataharbour.api.remembered import ANSWER_TTL_S
from dataharbour.errors import ConfigError, Unavailable

NOWHERE = "host=127.0.0.1 port=1 dbname=x user=y"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def counting(answer):
    def find() -> str:
        find.calls += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    find.calls = 0
    return find


def test_airflow_is_asked_for_the_address_once_in_a_while():
    clock, find = Clock(), counting("host=a")
    database = Database(find, clock=clock)
    assert database.conninfo() == database.conninfo() == "host=a"
    assert find.calls == 1
    clock.now += CONNINFO_TTL_S + 1
    database.conninfo()
    assert find.calls == 2


def test_airflow_is_asked_again_after_a_connection_failed():
    find = counting(NOWHERE)
    database = Database(find)
    for _ in range(2):
        with pytest.raises(Unavailable), database.connection():
            pass
    assert find.calls == 2


def test_a_missing_connection_is_a_fault_of_the_installation():
    database = Database(counting(ConfigError("no connection", "add it")))
    with pytest.raises(NotConfigured, match="no connection") as caught, database.connection():
        pass
    assert caught.value.remedy == "add it"


def test_many_askers_are_one_question_to_the_database():
    clock, find = Clock(), counting(NOWHERE)
    database = Database(find, clock=clock)
    assert [database.answers() for _ in range(5)] == [False] * 5
    assert find.calls == 1
    clock.now += ANSWER_TTL_S + 1
    database.answers()
    assert find.calls == 2
