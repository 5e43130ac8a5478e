from __future__ import annotations

import pytest

from dataharbour.platform.sign_in import ssh_hint

URL = "http://127.0.0.1:8080/dataharbour/sign-in?ticket=x"


@pytest.mark.parametrize(
    ("connection", "command"),
    [
        ("10.0.0.7 50022 10.0.0.9 22", "ssh -N -L 8080:127.0.0.1:8080 ana@10.0.0.9"),
        ("10.0.0.7 50022 10.0.0.9 2222", "ssh -N -p 2222 -L 8080:127.0.0.1:8080 ana@10.0.0.9"),
    ],
)
def test_the_tunnel_goes_to_the_port_that_one_came_by(monkeypatch, connection, command):
    monkeypatch.setenv("SSH_CONNECTION", connection)
    monkeypatch.setenv("USER", "ana")
    assert ssh_hint(URL).splitlines()[-1].strip() == command


def test_without_ssh_there_is_no_hint(monkeypatch):
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert ssh_hint(URL) is None
