"""Files that appear whole or not at all."""

import os
import secrets
from pathlib import Path

from analyzer.errors import GapModelError

__all__ = ["write_aside"]


def write_aside(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and give it that name once it is complete.

    Raises:
        GapModelError: the folder is missing, read-only or full; nothing is left behind.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        file = aside.open("xb")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with file:
            file.write(content)
        os.replace(aside, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        aside.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> GapModelError:
    return GapModelError(
        f"{path} cannot be written: {error.strerror}. Name a file in a folder that exists and "
        "can be written."
    )
