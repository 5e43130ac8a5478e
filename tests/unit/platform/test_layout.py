from __future__ import annotations

from pathlib import Path

import pytest

from dataharbour.errors import PlatformError
from dataharbour.platform import destroy
from dataharbour.platform.layout import Checkout, Home, find_home


def test_the_state_folder_is_in_the_checkout_unless_named():
    checkout = Checkout(Path("/opt/dataharbour"))
    assert find_home(checkout, {}).root == Path("/opt/dataharbour/.harbour")
    named = find_home(checkout, {"HARBOUR_HOME": "/var/lib/harbour"})
    assert str(named.root) == "/var/lib/harbour"


def test_a_path_too_long_for_a_socket_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(PlatformError, match="too long for a socket") as caught:
        find_home(Checkout(tmp_path), {"HARBOUR_HOME": "/tmp/" + "x" * 120})
    assert "HARBOUR_HOME" in caught.value.remedy


def test_a_folder_that_is_no_state_folder_is_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(PlatformError, match="nothing was deleted"):
        destroy.destroy(Home(tmp_path), report=None)
    assert (tmp_path / "thesis.tex").exists()
