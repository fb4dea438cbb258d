"""The commands by their words, where the examples of the zoo lie, and what populations are of."""

import csv
from pathlib import Path

import click
import onnx

from analyzer.cli.commands import onnx_gap

__all__ = ["BUNDLED", "QUICK", "ROOT", "commands", "copy_with_name", "rows_of"]

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "model_zoo" / "bundled" / "digits"
QUICK = ("--preprocess", "none", "--limit-per-class", 2)


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


def copy_with_name(network, path):
    """The same network in a file of other bytes: a network of its own for a population."""
    copy = onnx.load(network)
    copy.doc_string = path.stem
    onnx.save(copy, path)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
