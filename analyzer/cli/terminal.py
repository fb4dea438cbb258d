"""What people and scripts see: results on standard output, everything else on standard error.

Progress is a bar for people, a line every half a minute for logs, or silence.
"""

import json
import os
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from analyzer.control_characters import json_printable, printable

if TYPE_CHECKING:
    from rich.console import Console

    from analyzer.common_types import Progress

__all__ = [
    "LINE_SECONDS",
    "PROGRESS",
    "complain",
    "interruptible",
    "print_facts",
    "print_json",
    "print_table",
    "say",
    "shortened",
    "show",
    "show_progress",
    "warn",
]

_NARROWEST = 40  # columns, below which wrapping would only tear things apart

PROGRESS = ("auto", "bar", "lines", "none")
"""How progress can be shown; "auto" is a bar on a terminal and lines elsewhere."""

_LONGEST = 2000  # characters of an error

LINE_SECONDS = 30.0
"""Between two lines."""

_console: "Console | None" = None  # that a bar stands on, while one does


def say(sentence: str) -> None:
    """Print a sentence for the person waiting, if standard error is a terminal."""
    if sys.stderr.isatty():
        _to_standard_error(printable(sentence))


def show(text: str, mark: str = "", color: str | None = None) -> None:
    """Print a line of the result on standard output, with a colored mark before it."""
    indent = len(mark) + 1 if mark else 0
    wrapped = _wrapped(printable(text), sys.stdout, indent=indent)
    click.echo(f"{_styled(mark, fg=color)} {wrapped}" if mark else wrapped)


def warn(sentence: str) -> None:
    """Print a warning on standard error, wherever that goes."""
    _to_standard_error(printable(sentence), _styled("Warning:", fg="yellow", bold=True))


def complain(sentence: str, word: str = "Error") -> None:
    """Print why the command does not end with 0."""
    text = shortened(printable(sentence))
    _to_standard_error(text, _styled(f"{word}:", fg="red", bold=True))


def shortened(text: str) -> str:
    """``text``, without its middle if it is longer than anybody reads, as names can be.

    The beginning says what is wrong, the end what to do.
    """
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST * 3 // 4]} […] {text[-_LONGEST // 4 :]}"


def print_json(value: Any) -> None:
    """Print JSON on standard output, in UTF-8 whatever the encoding of text there."""
    click.echo(json_printable(json.dumps(value, indent=2, ensure_ascii=False)).encode())


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values on standard output, one below the other; long values are wrapped."""
    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        text = _wrapped(printable(value), sys.stdout, indent=width)
        click.echo(_styled(f"{name:<{width}}", bold=True) + text)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on standard output, as wide as its cells; numbers are aligned to the right."""
    header, *rows = ([printable(cell) for cell in row] for row in (header, *rows))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    right = [all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    for number, row in enumerate([header, *rows]):
        cells = (
            f"{cell:>{width}}" if to_the_right else f"{cell:<{width}}"
            for cell, width, to_the_right in zip(row, widths, right, strict=True)
        )
        line = "  ".join(cells).rstrip()
        click.echo(_styled(line, bold=True) if number == 0 else line)


def _styled(text: str, **style: Any) -> str:
    """The text in a color or in bold, unless the variable NO_COLOR is set and not empty."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)


def _is_number(cell: str) -> bool:
    try:
        float(cell.rstrip("%"))
    except ValueError:
        return cell == "–"
    return True


@contextmanager
def interruptible() -> Iterator[None]:
    """Say, when the work inside is interrupted, that it is not lost."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted; the same command resumes where it was.") from None


def _to_standard_error(sentence: str, word: str = "") -> None:
    """Print a sentence, ``word`` before it, above whatever shows progress there."""
    wrapped = _wrapped(f"{click.unstyle(word)} {sentence}".lstrip(), sys.stderr)
    text = word + wrapped[len(click.unstyle(word)) :]
    if not _write_above(text):
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


@contextmanager
def show_progress(how: str = "auto") -> "Iterator[Progress]":
    """A function that a library call reports its progress to, while the block lasts.

    Args:
        how: one of PROGRESS.
    """
    if how == "auto":
        how = "bar" if sys.stderr.isatty() else "lines"
    if how == "bar":
        with _bar() as progress:
            yield progress
    elif how == "lines":
        with _lines() as progress:
            yield progress
    else:
        yield lambda stage, done, total: None


def _write_above(text: str) -> bool:
    """Write lines above the bar on standard error; False where there is no bar."""
    if _console is None:
        return False
    from rich.text import Text

    _console.print(Text.from_ansi(text), soft_wrap=True)
    return True


class _Clock:
    """A stage, how far it is, and when it began."""

    def __init__(self, stage: str):
        self.stage, self.done, self.total = stage, 0, 0
        self._began = time.monotonic()

    @property
    def elapsed(self) -> str:
        """Time since it began."""
        return _duration(time.monotonic() - self._began)

    @property
    def left(self) -> str:
        """Time until it ends, at the same pace; "" before anything can be said."""
        if not self.done:
            return ""
        gone = time.monotonic() - self._began
        return _duration(gone / self.done * (self.total - self.done))


@contextmanager
def _lines() -> "Iterator[Progress]":
    """Print a line every LINE_SECONDS with what is being done, even if nothing is reported."""
    clock, ended = _Clock(""), threading.Event()

    def report(stage: str, done: int, total: int) -> None:
        nonlocal clock
        if stage != clock.stage:
            clock = _Clock(stage)
        clock.done, clock.total = done, total
        if done >= total:
            clock = _Clock("")

    def write() -> None:
        while not ended.wait(LINE_SECONDS):
            click.echo(_line(clock), err=True)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield report
    finally:
        ended.set()
        thread.join()


def _line(clock: _Clock) -> str:
    if not clock.stage:
        return f"working, {clock.elapsed} elapsed"
    left = f", {clock.left} left" if clock.left else ""
    share = f"{clock.done:,} of {clock.total:,} ({clock.done / clock.total:.0%})"
    return f"{clock.stage}: {share}, {clock.elapsed} elapsed{left}"


@contextmanager
def _bar() -> "Iterator[Progress]":
    """Show a bar of the stage in progress; a finished one becomes a line above it."""
    global _console
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    class Amount(progress.ProgressColumn):
        """How much is done and how long that took, as far as it is known."""

        def render(self, task: Any) -> Any:
            clock: _Clock = task.fields["clock"]
            if not clock.total:
                return f"{clock.elapsed} elapsed"
            left = f", {clock.left} left" if clock.left else ""
            return f"{clock.done:,}/{clock.total:,} {clock.elapsed} elapsed{left}"

    console = Console(stderr=True, force_terminal=True)
    bars = progress.Progress(
        progress.TextColumn("{task.description:<13}"),
        progress.BarColumn(),
        Amount(table_column=Column(no_wrap=True)),  # the bar gets shorter instead
        console=console,
        transient=True,
    )
    clock, ended = _Clock(""), ""
    task = bars.add_task("working", total=None, clock=clock)

    def begin(stage: str) -> None:
        nonlocal clock, task
        bars.remove_task(task)
        clock = _Clock(stage)
        task = bars.add_task(stage or "working", total=None, clock=clock)

    def report(stage: str, done: int, total: int) -> None:
        nonlocal ended
        if done >= total and stage == ended:
            return  # said once more
        if stage != clock.stage:
            begin(stage)
        ended = ""
        clock.done, clock.total = done, total
        bars.update(task, completed=done, total=total)
        if done >= total:
            console.print(f"{stage:<13} {total:,} done in {clock.elapsed}", highlight=False)
            begin("")
            ended = stage

    _console = console
    try:
        with bars:
            yield report
    finally:
        _console = None


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
