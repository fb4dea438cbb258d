"""Files that appear whole or not at all, and the same content always as the same bytes."""

import hashlib
import json
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import OutputError

__all__ = ["aside", "sha256", "write_arrays", "write_bytes", "write_json", "write_text"]


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """A hidden name beside ``path`` to write to; it becomes ``path`` once the block ends well.

    Readers see the old file or the whole new one, never a part; on an error nothing is left.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            if temporary.is_file():
                temporary.unlink()
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}. Name a file in a folder that "
            "exists and can be written."
        ) from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path``."""
    with aside(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with the line ends it has."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write strict, indented JSON.

    Raises:
        ValueError: ``value`` holds NaN or infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = True
) -> None:
    """Write an ``.npz`` that carries neither a time of writing nor a file mode."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with aside(path) as temporary, zipfile.ZipFile(temporary, "w", method) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = method
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def sha256(path: str | Path) -> str:
    """The file's sha256 as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
