"""The command line: :mod:`.commands` lists the commands, which have a module each."""

from analyzer.cli.commands import main

__all__ = ["main"]
