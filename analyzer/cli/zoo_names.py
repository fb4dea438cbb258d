"""``zoo:NAME`` where a path is expected: the only place where paths meet the zoo."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_zoo import ZooEntry

__all__ = ["entry", "is_zoo_name"]

_PREFIX = "zoo:"


def is_zoo_name(name: str) -> bool:
    """Whether it is ``zoo:NAME``, existing or not."""
    return name.startswith(_PREFIX)


def entry(name: str) -> "ZooEntry | None":
    """The entry that ``zoo:NAME`` names; None for anything else.

    Raises:
        AnalyzerError: there is no such entry; near matches are named.
    """
    if not is_zoo_name(name):
        return None
    import model_zoo

    return model_zoo.find(name.removeprefix(_PREFIX))
