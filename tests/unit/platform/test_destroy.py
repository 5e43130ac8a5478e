from __future__ import annotations

import fcntl
import io
import os

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform import assemble
from dataharbour.platform.destroy import destroy
from dataharbour.platform.layout import Home
from dataharbour.platform.lock import exclusive, lock_file
from dataharbour.platform.report import Report


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    assemble.make_folders(home)
    with exclusive(home):
        (home.data / "thing").write_text("x")
    return home


class Meddler(Report):
    """Tries to start something in the state folder while it is being deleted."""

    def __init__(self, home: Home) -> None:
        super().__init__(stream=io.StringIO(), live=False)
        self.home = home
        self.refused = False

    def waiting(self, name: str, text: str) -> None:
        if name == "state-folder":
            try:
                with exclusive(self.home):
                    pass
            except PlatformError:
                self.refused = True


def test_nothing_starts_while_the_state_folder_is_deleted(home):
    report = Meddler(home)
    assert destroy(home, report)
    assert report.refused
    assert not home.root.exists()


def test_a_lock_that_was_deleted_while_one_waited_for_it_is_none(home, monkeypatch):
    real, calls = fcntl.flock, []

    def flock(descriptor, operation):
        if not calls:
            lock_file(home).unlink()  # the end of a `destroy`
        calls.append(operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(home):
        monkeypatch.undo()
        with pytest.raises(PlatformError, match="Another harbour command"), exclusive(home):
            pass


def test_a_vault_on_another_disk_is_said_to_stay(home, tmp_path):
    vault = tmp_path / "disk" / "vault"
    vault.mkdir(parents=True)
    assemble.keep_vault(home, {"HARBOUR_VAULT_DIR": str(vault)})
    told = io.StringIO()
    destroy(home, Report(stream=told, live=False))
    assert str(vault) in told.getvalue()
    assert vault.exists()


def test_a_link_in_the_state_folder_is_not_followed(home, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    os.symlink(tmp_path / "mine", home.root / "link")
    destroy(home, Report(stream=io.StringIO(), live=False))
    assert not home.root.exists()
    assert (tmp_path / "mine" / "file").exists()
