from __future__ import annotations

import pytest

from dataharbour.backup.vault import packs, session
from dataharbour.testing.vaults import VaultPlace


@pytest.fixture
def place(tmp_path, monkeypatch) -> VaultPlace:
    """A vault whose packs and lists are small, so that little makes many of them."""
    monkeypatch.setattr(packs, "PACK_BYTES", 4_000)
    monkeypatch.setattr(packs, "_ALONE_BYTES", 2_000)
    monkeypatch.setattr("dataharbour.backup.sources.folder.PACK_BYTES", 4_000)
    monkeypatch.setattr(session, "INDEX_EVERY_BYTES", 5_000)
    monkeypatch.setattr(session, "PART_ROWS", 3)
    return VaultPlace(tmp_path)
