"""What people and scripts see: results on standard output, everything else on standard error."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click

from analyzer.cli.progress import write_above
from analyzer.printable import json_printable, printable

__all__ = [
    "complain",
    "going_on_later",
    "print_facts",
    "print_json",
    "print_table",
    "say",
    "show",
    "warn",
]

_NARROWEST = 40  # columns, below which wrapping would only tear things apart


def say(sentence: str) -> None:
    """A sentence for the person waiting; unsaid where standard error is not a terminal."""
    if sys.stderr.isatty():
        _to_standard_error(printable(sentence))


def show(text: str) -> None:
    """A line of the result, on standard output."""
    click.echo(_wrapped(printable(text), sys.stdout))


def warn(sentence: str) -> None:
    """A sentence that must not be overlooked, wherever standard error goes."""
    _to_standard_error(printable(sentence), click.style("Warning:", fg="yellow", bold=True))


def complain(sentence: str, word: str = "Error") -> None:
    """Why the command does not end with 0."""
    _to_standard_error(printable(sentence), click.style(f"{word}:", fg="red", bold=True))


def print_json(value: Any) -> None:
    """JSON on standard output: UTF-8, whatever the encoding of text there."""
    click.echo(json_printable(json.dumps(value, indent=2, ensure_ascii=False)).encode())


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Names and values below each other on standard output; a value may continue below."""
    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        text = _wrapped(printable(value), sys.stdout, indent=width)
        click.echo(click.style(f"{name:<{width}}", bold=True) + text)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output, as wide as its cells, that pipes well; numbers to the right."""
    header, *rows = ([printable(cell) for cell in row] for row in (header, *rows))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    right = [all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    for number, row in enumerate([header, *rows]):
        cells = (
            f"{cell:>{width}}" if to_the_right else f"{cell:<{width}}"
            for cell, width, to_the_right in zip(row, widths, right, strict=True)
        )
        click.secho("  ".join(cells).rstrip(), bold=number == 0)


def _is_number(cell: str) -> bool:
    try:
        float(cell.rstrip("%"))
    except ValueError:
        return cell == "–"
    return True


@contextmanager
def going_on_later() -> Iterator[None]:
    """Says, when the work inside is interrupted, that it is not lost."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted; the same command resumes where it was.") from None


def _to_standard_error(sentence: str, word: str = "") -> None:
    """A sentence above whatever shows progress there; ``word`` comes before it."""
    wrapped = _wrapped(f"{click.unstyle(word)} {sentence}".lstrip(), sys.stderr)
    text = word + wrapped[len(click.unstyle(word)) :]
    if not write_above(text):
        click.echo(text, err=True)


def _wrapped(text: str, stream: TextIO, indent: int = 0) -> str:
    """``text`` in lines that end at words, where ``stream`` is a terminal; else as it is.

    Args:
        text: of one line; a word that is longer than a line, such as a path, stays whole.
        stream: where it is written.
        indent: columns that are taken before it, and left free below.
    """
    if not stream.isatty():
        return text
    width = max(shutil.get_terminal_size().columns - indent, _NARROWEST)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * indent}".join(lines)
