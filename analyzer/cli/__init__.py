"""The command ``onnx-gap``: each subcommand parses, makes one library call, and prints.

Subcommands are imported when they are named, and what they need when they run, so that none
pays for the others.
"""

import importlib
import sys
import traceback

import click

from analyzer.errors import AnalyzerError

__all__ = ["main"]

COMMANDS = {
    "inspect": "Show what could be masked in a network.",
    "mask": "Write the network with a channel mask as an extra input.",
    "audit": "Audit a network on its training data.",
    "population": "Audit a population of networks from a manifest.",
    "fit": "Fit a gap model on an audited population.",
    "compare": "Compare two audits.",
    "verify": "Check that an audit folder is whole and true.",
    "report": "Write the report of an audit folder anew.",
    "zoo": "List, train and show the reference networks.",
    "doctor": "Say what this installation can do.",
}

EXIT_DONE, EXIT_LIMIT, EXIT_INPUT, EXIT_DEFECT = 0, 1, 2, 3
EXIT_INTERRUPTED = 130  # what shells give a command that Ctrl-C ended


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"analyzer.cli.{name}_command").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="onnx-gap", prog_name="onnx-gap")
def _onnx_gap() -> None:
    """Tell how well a trained classifier generalizes, from its ONNX file and its training data.

    \b
    A first look, with a network and data that come along:
      onnx-gap audit zoo:digits-c40 --out audit-c40
    Your own:
      onnx-gap inspect model.onnx
      onnx-gap audit model.onnx --data train/ --preprocess imagenet --out audit/

    Exit codes: 0 done; 1 done, and a limit that was asked for failed; 2 bad usage or bad input;
    3 a defect of ours.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit code."""
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: list[str] | None) -> int:
    try:
        code = _onnx_gap.main(arguments, prog_name="onnx-gap", standalone_mode=False)
        return EXIT_DONE if code is None else code
    except click.ClickException as error:
        error.show()
        return EXIT_INPUT
    except AnalyzerError as error:
        click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(error), err=True)
        return EXIT_INPUT
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted; the same command goes on where it was.", err=True)
        return EXIT_INTERRUPTED
    except Exception:
        traceback.print_exc()
        click.echo(
            "This is a defect of onnx-gap, not of your input. Please report it with the lines "
            "above and what `onnx-gap doctor` prints.",
            err=True,
        )
        return EXIT_DEFECT
