"""The commands of the command line by their words, and where the examples of the zoo lie."""

from pathlib import Path

import click

from analyzer.cli.commands import onnx_gap

__all__ = ["BUNDLED", "ROOT", "commands"]

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "model_zoo" / "bundled" / "digits"


def commands(group: click.Group = onnx_gap, prefix: str = "") -> dict[str, click.Command]:
    """ "audit", "zoo", "zoo train", … in the order in which help lists them."""
    found: dict[str, click.Command] = {}
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found[prefix + name] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
    return found
