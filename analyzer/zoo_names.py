"""``zoo:NAME`` where a path is expected: the only place where paths meet the bundled networks."""

from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.errors import AnalyzerError, parameter

if TYPE_CHECKING:
    from model_zoo import ZooEntry

__all__ = [
    "ANY_NETWORK",
    "NO_GAP_MODEL",
    "gap_model_path",
    "is_zoo_name",
    "network_path",
    "zoo_entry",
]

_PREFIX = "zoo:"

ANY_NETWORK = "zoo:any"
"""The gap model for networks of any population."""

NO_GAP_MODEL = "none"
"""Stands where a gap model could be named, and asks for no estimate."""


def is_zoo_name(name: str | Path) -> bool:
    """Whether it is ``zoo:NAME``, existing or not."""
    return str(name).startswith(_PREFIX)


def zoo_entry(name: str | Path) -> "ZooEntry | None":
    """The entry that ``zoo:NAME`` names; None for anything else.

    Raises:
        AnalyzerError: there is no such entry; near matches are named.
    """
    if not is_zoo_name(name):
        return None
    import model_zoo

    return model_zoo.find(str(name).removeprefix(_PREFIX))


def network_path(model: str | Path) -> Path:
    """The ONNX file that a path or zoo:NAME means.

    Raises:
        AnalyzerError: there is no such entry, or it is a data set.
    """
    found = zoo_entry(model)
    if found is None:
        return Path(model)
    if found.model is None:
        what = "data set" if found.data is not None else found.kind
        raise AnalyzerError(f"{model} is a {what}; `onnx-gap zoo list` shows the networks.")
    return found.model


def gap_model_path(name: str | Path) -> Path:
    """The gap model that a path or zoo:NAME means.

    Raises:
        AnalyzerError: there is no such entry, or it has no gap model.
    """
    found = zoo_entry(name)
    if found is None:
        return Path(name)
    if found.gap_model is None:
        raise AnalyzerError(
            f"{name} has no gap model; give {parameter('gap_model')} the path of a file."
        )
    return found.gap_model
