"""Seal bytes so that any age and any zstd open them: an age file over a zstd frame.

No cryptography of our own.
"""

from __future__ import annotations

from collections.abc import Sequence

from dataharbour.backup.vault.age import decrypt, encrypt
from dataharbour.errors import BackupCorrupt

LEVEL = 3  # zstd's own default
LARGEST_BYTES = 256 * 2**20  # of what is opened; nothing that is written comes near it


def seal(data: bytes, recipients: Sequence[str], *, level: int = LEVEL) -> bytes:
    """Compress, then encrypt to recipients (``age1…``).

    Raises:
        ConfigError: one of them is no recipient, or there is none.
    """
    import zstandard

    frame = zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)
    return encrypt(frame, recipients)


def unseal(data: bytes, identities: Sequence[str]) -> bytes:
    """What was sealed.

    Args:
        data: the stored bytes.
        identities: one of them has to fit.

    Raises:
        BackupCorrupt: it is damaged, or sealed to somebody else.
        ConfigError: one of the identities is none.
    """
    import zstandard

    frame = decrypt(data, identities)
    try:
        size = zstandard.frame_content_size(frame)
        if not 0 <= size <= LARGEST_BYTES:
            raise zstandard.ZstdError(f"{size} bytes are announced")
        content: bytes = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise BackupCorrupt(
            f"What {len(data):,} sealed bytes hold cannot be decompressed: {error}.",
            "It was not written by this version.",
        ) from error
    return content
