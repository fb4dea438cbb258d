"""The figures in docs/RELIABILITY.md, each set between marks of its own."""

from pathlib import Path

__all__ = ["PAGE", "read_figures", "write_figures"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "RELIABILITY.md"


def read_figures(name: str, page: Path = PAGE) -> str:
    """The figures between the marks of that name, with a line break at both ends.

    Raises:
        ValueError: the page does not have these marks.
    """
    return _parts(name, page)[1]


def write_figures(name: str, text: str, page: Path = PAGE) -> None:
    """Put figures between the marks of that name, in place of those that are there.

    Raises:
        ValueError: the page does not have these marks.
    """
    before, _, after = _parts(name, page)
    page.write_text(f"{before}\n{text}\n{after}", encoding="utf-8")


def _parts(name: str, page: Path) -> tuple[str, str, str]:
    """The page up to the figures with the mark before them, the figures, and the rest."""
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(first)
    figures, ended, after = rest.partition(last)
    if not (found and ended):
        raise ValueError(f"{page} has no marks {first} and {last}.")
    return before + first, figures, last + after
