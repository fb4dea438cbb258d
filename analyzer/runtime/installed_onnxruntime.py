"""Which onnxruntime is installed, which one runs, and what to do where two are in each other's way.

``onnxruntime`` and ``onnxruntime-gpu`` are two distributions of one module, and pip lets one
overwrite the other's files: the module that is imported is then that of the last one installed, or
what an uninstall left of it.
"""

import contextlib
import importlib.metadata
import re

from analyzer.errors import DeviceError

__all__ = [
    "OLDEST",
    "explain_broken_module",
    "installation_warning",
    "refuse_old_module",
    "running_onnxruntime",
]

OLDEST = (1, 25)
"""The first version of onnxruntime that will do, as setup.cfg has it."""

_VARIANTS = ("gpu", "directml", "openvino", "qnn", "rocm", "migraphx", "silicon")
_WANTED = "onnxruntime-gpu"  # also runs on machines without a GPU


def installation_warning() -> str | None:
    """A sentence with the way out where several distributions of onnxruntime are installed."""
    found = _installed()
    if len(found) < 2:
        return None
    listed = " and ".join(f"{name} {version}" for name, version in found.items())
    name, version = running_onnxruntime()
    return (
        f"{listed} are installed, which overwrite each other's files; what runs is {name} "
        f"{version}. {_repair(found)}"
    )


def running_onnxruntime() -> tuple[str, str]:
    """The distribution and the version of the module that runs, as the module itself says.

    Raises:
        DeviceError: there is none, or it is broken.
    """
    from analyzer.runtime.sessions import ort  # raises what is wrong with it

    try:
        from onnxruntime.capi.build_and_package_info import package_name
    except ImportError:  # in builds from source
        package_name = next(iter(_installed()), "onnxruntime")
    return package_name, ort.__version__


def explain_broken_module(error: Exception) -> DeviceError:
    """The error for a module that cannot be imported, or lacks its parts."""
    found = _installed()
    what = f"onnxruntime does not work ({type(error).__name__}: {error})"
    if not found:
        return DeviceError(f"{what}: it is not installed. {_repair(found)}")
    listed = " and ".join(f"{name} {version}" for name, version in found.items())
    return DeviceError(
        f"{what}, although {listed} is installed: another distribution of it was put over its "
        f"files or removed with them. {_repair(found)}"
    )


def refuse_old_module(version: str) -> None:
    """Refuse a version that lacks what is used of it, which pip does not install.

    Raises:
        DeviceError: it is older than OLDEST; the sentence says how to get another.
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise DeviceError(
            f"onnxruntime {version} is too old: {wanted} or newer is needed. "
            f"{_repair(_installed())}"
        )


def _repair(found: dict[str, str]) -> str:
    """The two commands that leave one distribution, whole."""
    others = " ".join(dict.fromkeys(["onnxruntime", "onnxruntime-gpu", *found]))
    wanted = _WANTED if _WANTED in found or not found else next(iter(found))
    return f"Repair it: `pip uninstall -y {others}`, then `pip install --force-reinstall {wanted}`."


def _installed() -> dict[str, str]:
    """Version by name of the distributions of onnxruntime that pip knows of."""
    found: dict[str, str] = {}
    for name in sorted(["onnxruntime", *(f"onnxruntime-{variant}" for variant in _VARIANTS)]):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            if version := importlib.metadata.version(name):  # None where its metadata are gone
                found[name] = version
    return found
