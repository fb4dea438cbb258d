"""The command ``onnx-gap``: the list of its subcommands, and how any of them ends.

Each has a module of its own, ``NAME_command.py``: it parses, makes one library call, and prints.
Subcommands are imported when they are named, and what they need when they run, so that none
pays for the others. Results go to standard output, everything else to standard error.
"""

import errno
import gc
import importlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping

import click

from analyzer.cli.interrupts import hold_interrupts_back
from analyzer.cli.memory_limit import memory_refusal
from analyzer.cli.streams import leave_streams, prepare_streams
from analyzer.cli.terminal import complain, shortened
from analyzer.control_characters import printable
from analyzer.errors import AnalyzerError, naming_flags

__all__ = ["COMMANDS", "exit_code_of", "main", "onnx_gap"]

COMMANDS = (
    "inspect", "mask", "audit", "population", "fit", "compare", "verify", "report", "zoo", "doctor",
)  # fmt: skip
"""Names of the subcommands, in the order of use."""

# Commands themselves return 0, or 1 where a limit that was asked for failed.
_DONE, _BAD_INPUT, _DEFECT = 0, 2, 3
# What shells give a command that Ctrl-C ended, or that wrote to a pipe nobody reads.
_INTERRUPTED, _UNREAD = 130, 141

# What the machine refuses wherever the library asks it: room for scratch files, names, rights,
# folders in the place of files, and disks that fail or are out of reach. Not every system has all.
_REFUSED = {
    getattr(errno, name, None)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS"),
        *("ENAMETOOLONG", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "ELOOP"),
        *("EIO", "EBADMSG", "EUCLEAN", "ENXIO", "ENODEV", "ENOMEDIUM", "EBUSY"),
        *("ESTALE", "EREMOTEIO", "ETIMEDOUT", "ENOTCONN", "ENOLINK", "EHOSTDOWN", "EHOSTUNREACH"),
    )
} - {None}
# What a process has no more of.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_NO_THREAD = "can't start new thread"  # what Python raises as a RuntimeError

_COMPLETION = "_ONNX_GAP_COMPLETE"
"""What a shell sets to be told how it completes, or what: click reads it."""
_WORDS = ("COMP_WORDS", "COMP_CWORD")

# click's errors of several lines, that quote nothing
_OF_LINES = (click.MissingParameter, click.exceptions.NoArgsIsHelpError)


class _Subcommands(Mapping[str, click.Command]):
    """The subcommands by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> click.Command:
        if name not in COMMANDS:
            raise KeyError(name)
        return importlib.import_module(f"analyzer.cli.{name}_command").command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _InOrderOfUse(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from analyzer.version import installed_version

    click.echo(f"onnx-gap {installed_version()}")
    context.exit()


@click.group(
    "onnx-gap",
    cls=_InOrderOfUse,
    commands=_Subcommands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def onnx_gap() -> None:
    """Tell how well a trained classifier generalizes, from its ONNX file and its training data.

    \b
    A first look, with a bundled network and its data:
      onnx-gap audit zoo:digits-c40 --out audit-c40
    Your own:
      onnx-gap inspect model.onnx
      onnx-gap audit model.onnx --data train/ --preprocess imagenet --out audit

    Exit codes: 0 done; 1 done, and a limit that was asked for failed; 2 bad usage or bad input;
    3 a defect of ours; 4 done, and a limit that was asked for cannot be judged; 130 interrupted;
    141 whoever read its output has stopped.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    prepare_streams()
    if not sys.warnoptions:  # what libraries warn of, numpy and Pillow above all, is ours to say
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # in processes that this one starts, too
    gc.set_threshold(100_000)  # or collecting garbage among imports takes a tenth of the start
    if (refusal := memory_refusal()) is None:
        code = exit_code_of(arguments)
    else:
        complain(refusal)
        code = _BAD_INPUT
    hold_interrupts_back()
    leave_streams()
    gc.freeze()  # or the last collection looks through all of them, for a fifth of the time
    sys.exit(code)


def exit_code_of(arguments: list[str] | None) -> int:
    """Run the command line, and say what is wrong where it fails; ``sys.argv`` by default."""
    with naming_flags():
        return _exit_code_of(arguments)


def _exit_code_of(arguments: list[str] | None) -> int:
    try:
        if completing := os.environ.get(_COMPLETION):
            _prepare_completion(completing)
        code = onnx_gap.main(arguments, prog_name="onnx-gap", standalone_mode=False)
        return _DONE if code is None else code
    except click.ClickException as error:
        if not isinstance(error, _OF_LINES):
            error.message = printable(error.message)  # type: ignore[misc]
        shown = io.StringIO()
        error.show(file=shown)
        click.echo(shortened(printable(shown.getvalue(), keep="\n\t")), err=True, nl=False)
        return _BAD_INPUT
    except AnalyzerError as error:
        complain(str(error))
        return _BAD_INPUT
    except click.Abort as error:  # click's form of KeyboardInterrupt
        click.echo(str(error.__cause__ or "") or "Interrupted.", err=True)
        return _INTERRUPTED
    except SystemExit as error:  # of a shell's completion, or with 1 of a pipe that nobody reads
        return _UNREAD if error.code else _DONE
    except MemoryError as error:
        complain(
            f"There is not enough memory ({str(error) or 'none is left'}). Give the process more, "
            "or audit less at once, with a smaller --memory or --limit-per-class."
        )
        return _BAD_INPUT
    except (OSError, RuntimeError) as error:
        if (refusal := _refusal_of(error)) is None:
            return _defect()
        complain(refusal)
        return _BAD_INPUT
    except Exception as error:
        if not completing:
            return _defect()
        complain(
            f"The words to complete cannot be read ({error!r}): shells that complete set "
            f"{' and '.join(_WORDS)} to a line and to one of its words."
        )
        return _BAD_INPUT


def _prepare_completion(wanted: str) -> None:
    """Refuse a shell that is unknown, and make words that are not UTF-8 such as can be printed.

    Raises:
        AnalyzerError: the sentence names the shells that complete.
    """
    from click.shell_completion import get_completion_class

    shell, _, what = wanted.partition("_")
    if what not in ("source", "complete") or get_completion_class(shell) is None:
        raise AnalyzerError(
            f"{_COMPLETION} is {wanted!r}, which no shell sets that completes: it is "
            "bash_source, zsh_source or fish_source."
        )
    for name in _WORDS:
        if name in os.environ:
            os.environ[name] = os.environ[name].encode(errors="replace").decode()


def _refusal_of(error: OSError | RuntimeError) -> str | None:
    """What the machine refuses, as a sentence; None where the error is a defect."""
    exhausted = isinstance(error, OSError) and error.errno in _EXHAUSTED
    if exhausted or str(error) == _NO_THREAD:
        return (
            f"The machine gives this process no more ({getattr(error, 'strerror', error)}). Raise "
            "its limits (ulimit -a shows them), or run less at once, with a smaller --jobs."
        )
    if not isinstance(error, OSError):
        return None
    if error.errno in _REFUSED:
        place = error.filename or "A temporary file"
        return f"{place} cannot be used: {error.strerror}. Change that, or name another place."
    if not isinstance(error, FileNotFoundError):
        return None
    try:
        os.getcwd()
    except OSError:
        return "The current folder does not exist any more. Change to one that does."
    import tempfile  # for this alone

    try:
        tempfile.gettempdir()
    except OSError as none:
        return f"{none.strerror}. Let TMPDIR name a folder that can be written and has room."
    return None


def _defect() -> int:
    """Show what is being raised, for those who can fix it."""
    click.echo(printable(traceback.format_exc(), keep="\n"), err=True, nl=False)
    click.echo(
        "This is a defect of onnx-gap, not of your input. Please report it with the lines "
        "above and what `onnx-gap doctor` prints.",
        err=True,
    )
    return _DEFECT
