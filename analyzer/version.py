"""The installed version."""

import contextlib
from importlib import metadata

__all__ = ["__version__"]

__version__ = "(run from its sources, not installed)"
with contextlib.suppress(metadata.PackageNotFoundError):
    __version__ = metadata.version("onnx-gap")
