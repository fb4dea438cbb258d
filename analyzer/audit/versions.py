"""The versions that a result depends on."""

import contextlib
import importlib.metadata
import platform
from collections.abc import Mapping
from functools import cache

__all__ = ["installed_versions"]

_PACKAGES = ("onnx-gap", "numpy", "onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu")


@cache
def installed_versions() -> Mapping[str, str]:
    """Of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
