"""The command line: :mod:`.commands` lists the commands, which have a module each."""

import sys

from analyzer.cli.interrupts import heed_interrupts, hold_interrupts_back

__all__ = ["main"]

_INTERRUPTED = 130  # what shells give a command that Ctrl-C ended


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code; ``sys.argv`` by default."""
    try:
        heed_interrupts()
        from analyzer.cli import commands

        commands.main(arguments)
    except KeyboardInterrupt:  # while that was imported, or a second one
        hold_interrupts_back()
        sys.exit(_INTERRUPTED)
