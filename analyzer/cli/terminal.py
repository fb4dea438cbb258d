"""What people and scripts see: results on standard output, everything else on standard error."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from analyzer.printable import json_printable, printable

if TYPE_CHECKING:
    from analyzer.records import Progress

__all__ = [
    "complain",
    "going_on_later",
    "print_facts",
    "print_json",
    "print_table",
    "progress_bars",
    "say",
    "show",
    "warn",
]


def say(sentence: str) -> None:
    """A sentence for the person waiting; unsaid where standard error is not a terminal."""
    if sys.stderr.isatty():
        click.echo(printable(sentence), err=True)


def show(text: str) -> None:
    """A line of the result, on standard output."""
    click.echo(printable(text))


def warn(sentence: str) -> None:
    """A sentence that must not be overlooked, wherever standard error goes."""
    click.echo(click.style("Warning: ", fg="yellow", bold=True) + printable(sentence), err=True)


def complain(sentence: str, word: str = "Error") -> None:
    """Why the command does not end with 0."""
    click.echo(click.style(f"{word}: ", fg="red", bold=True) + printable(sentence), err=True)


def print_json(value: Any) -> None:
    """JSON on standard output: UTF-8, whatever the encoding of text there."""
    click.echo(json_printable(json.dumps(value, indent=2, ensure_ascii=False)).encode())


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Names and values below each other on standard output; a value may continue below."""
    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        click.echo(click.style(f"{name:<{width}}", bold=True) + printable(value))


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


@contextmanager
def progress_bars() -> Iterator["Progress"]:
    """One bar a stage with the time left, where standard error is a terminal; else silence."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich import progress
    from rich.console import Console

    bars = progress.Progress(
        progress.TextColumn("{task.description:<13}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("gone,"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left"),
        console=Console(stderr=True),
    )
    tasks: dict[str, progress.TaskID] = {}
    with bars:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
