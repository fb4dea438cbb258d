"""Values of a network's further inputs, as the command line names them."""

from pathlib import Path

import numpy as np

from analyzer.errors import DataError

__all__ = ["read_value"]


def read_value(text: str) -> np.ndarray:
    """A number, or the array in a ``.npy`` file.

    Raises:
        DataError: it is neither.
    """
    try:
        return np.asarray(float(text))
    except ValueError:
        pass
    try:
        found = np.load(Path(text), allow_pickle=False)
    except OSError as error:
        reason = error.strerror or "it is not a NumPy file"
        raise DataError(f"{text!r} is no number, and no .npy file: {reason}") from None
    except (ValueError, EOFError):
        raise DataError(f"{text} is not a .npy file of numbers") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise DataError(f"{text} holds no array of numbers; save one with numpy.save")
    return found
