"""Tell the data of a table from what its writers leave beside it. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

# Empty objects that stand for folders: of S3A (``name/``), of older connectors of Hadoop.
# Source: https://hadoop.apache.org/docs/stable/hadoop-aws/tools/hadoop-aws/directory_markers.html
_FOLDER_MARKS = ("/", "_$folder$")


def is_folder_mark(name: str) -> bool:
    """Whether this key, or what is left of it below a folder, stands for a folder."""
    return name == "" or name.endswith(_FOLDER_MARKS)


def is_data(name: str) -> bool:
    """Whether a file of a table, by its path below the table's folder, holds rows.

    Marks of folders do not, and nothing that Spark hides (``_SUCCESS``,
    ``_temporary/…``, ``.part-0.crc``). A partition's folder may begin with ``_``.
    """
    if is_folder_mark(name):
        return False
    parts = PurePosixPath(name).parts
    return not any(part.startswith(("_", ".")) and "=" not in part for part in parts)
