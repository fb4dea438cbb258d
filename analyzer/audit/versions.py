"""The versions that a result depends on."""

import contextlib
import importlib.metadata
import platform
from collections.abc import Mapping
from functools import cache

__all__ = ["installed_versions"]

_PACKAGES = ("onnx-gap", "numpy", "onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu")


@cache
def installed_versions(*further: str) -> Mapping[str, str]:
    """Of Python, of the packages that every result depends on, and of ``further`` ones."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *further):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
