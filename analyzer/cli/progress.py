"""Progress on standard error: a bar for people, a line every half a minute for logs, or silence."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from analyzer.records import Progress

__all__ = ["LINE_SECONDS", "PROGRESS", "show_progress", "write_above"]

PROGRESS = ("auto", "bar", "lines", "none")
"""How progress can be shown; "auto" is a bar on a terminal and lines elsewhere."""

LINE_SECONDS = 30.0
"""Between two lines."""

_console: "Console | None" = None  # that a bar stands on, while one does


@contextmanager
def show_progress(how: str = "auto") -> "Iterator[Progress]":
    """What a library call reports its progress to, for as long as the block lasts.

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


def write_above(text: str) -> bool:
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
    def gone(self) -> str:
        """Time since it began."""
        return _duration(time.monotonic() - self._began)

    @property
    def left(self) -> str:
        """Time until it ends, if it goes on like that; "" before anything can be said."""
        if not self.done:
            return ""
        gone = time.monotonic() - self._began
        return _duration(gone / self.done * (self.total - self.done))


@contextmanager
def _lines() -> "Iterator[Progress]":
    """A line every LINE_SECONDS with what is being done, also where nothing is reported."""
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
        return f"working, {clock.gone} gone"
    left = f", {clock.left} left" if clock.left else ""
    share = f"{clock.done:,} of {clock.total:,} ({clock.done / clock.total:.0%})"
    return f"{clock.stage}: {share}, {clock.gone} gone{left}"


@contextmanager
def _bar() -> "Iterator[Progress]":
    """A bar of the stage that is being worked on; a finished one becomes a line above."""
    global _console
    from rich import progress
    from rich.console import Console

    class Amount(progress.ProgressColumn):
        """How much is done and how long it takes, as far as that is known."""

        def render(self, task: Any) -> Any:
            clock: _Clock = task.fields["clock"]
            if not clock.total:
                return f"{clock.gone} gone"
            left = f", {clock.left} left" if clock.left else ""
            return f"{clock.done:,}/{clock.total:,} {clock.gone} gone{left}"

    console = Console(stderr=True, force_terminal=True)
    bars = progress.Progress(
        progress.TextColumn("{task.description:<13}"),
        progress.BarColumn(),
        Amount(),
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
            console.print(f"{stage:<13} {total:,} done in {clock.gone}", highlight=False)
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
