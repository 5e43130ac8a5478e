"""Take secrets out of files; every other byte stays. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from dataharbour.jobs.driver.lines import Cleaner


class Redaction:
    """Takes secrets out of the content of a file.

    Args:
        secrets: values; also as JSON writes them.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first, so that one secret inside another leaves no part of it.
        spelled = {each.encode() for each in _spellings(secrets) if each}
        self._secrets = sorted(spelled, key=len, reverse=True)

    def __call__(self, data: bytes) -> bytes:
        """The content without them.

        In what is no text each is replaced by as many stars, so that nothing in it moves.
        """
        cleaned = data
        for secret in self._secrets:
            if secret in cleaned:
                cleaned = cleaned.replace(secret, b"***" if _is_text(data) else b"*" * len(secret))
        return cleaned


def in_json(secrets: Iterable[str]) -> Cleaner:
    """Takes secrets out of a JSON text, as it writes them."""
    return Cleaner(_spellings(secrets))


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Secrets as they are, and as JSON writes them."""
    plain = list(secrets)
    escaped = [
        json.dumps(each, ensure_ascii=ascii)[1:-1] for each in plain for ascii in (True, False)
    ]
    return [*plain, *escaped]


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False
