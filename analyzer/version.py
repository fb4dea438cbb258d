"""The installed version."""

from importlib import metadata

__all__ = ["__version__", "installed_version"]


def installed_version() -> str:
    """The version of the installed distribution, or that there is none."""
    try:
        return metadata.version("onnx-gap")
    except metadata.PackageNotFoundError:
        return "(run from its sources, not installed)"


__version__ = installed_version()
