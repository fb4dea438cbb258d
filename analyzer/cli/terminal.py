"""What a person sees on standard error: progress with time left, sentences, a summary."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from analyzer.records import Progress

__all__ = ["progress_bars", "say", "table", "warn"]


def say(sentence: str) -> None:
    """A sentence for the person waiting."""
    click.echo(sentence, err=True)


def warn(sentence: str) -> None:
    """A sentence that must not be overlooked."""
    click.secho("Warning: ", fg="yellow", bold=True, nl=False, err=True)
    click.echo(sentence, err=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output, as wide as its cells, that pipes well."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for number, row in enumerate([header, *rows]):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.secho("  ".join(cells).rstrip(), bold=number == 0)


@contextmanager
def progress_bars(shown: bool | None = None) -> Iterator[Progress]:
    """One bar a stage with the time left, where standard error is a terminal; else silence."""
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda stage, done, total: None
        return
    from rich import progress
    from rich.console import Console

    bars = progress.Progress(
        progress.TextColumn("{task.description:<8}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, progress.TaskID] = {}
    with bars:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
