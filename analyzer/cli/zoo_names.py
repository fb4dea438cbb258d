"""``zoo:NAME`` where a path is expected: the only place where the analyzer knows the zoo."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_zoo import ZooEntry

__all__ = ["entry"]

PREFIX = "zoo:"


def entry(name: str) -> "ZooEntry | None":
    """The entry that ``zoo:NAME`` names; None for anything else.

    Raises:
        AnalyzerError: there is no such entry; near matches are named.
    """
    if not name.startswith(PREFIX):
        return None
    import model_zoo

    return model_zoo.find(name.removeprefix(PREFIX))
