"""Options of the command line: an audit's (:mod:`analyzer.audit_options`), and some of its own."""

import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from analyzer.cli.terminal import PROGRESS
from analyzer.errors import OutputError
from analyzer.option_mechanism import Option, alone, options_of, parse_number

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "FILE_OR_ZOO",
    "PATH",
    "Command",
    "NeedyOption",
    "Number",
    "Parsed",
    "ResultFile",
    "WholeNumber",
    "budget_options",
    "data_options",
    "exit_codes",
    "image_size_option",
    "json_option",
    "limit_options",
    "measure_options",
    "out_file",
    "out_folder",
    "progress_option",
    "remeasuring_options",
    "request_options",
    "resume_option",
    "run_options",
    "site_options",
    "test_options",
    "wait_option",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class NeedyOption(click.Option):
    """An option that does nothing without another one, ``needs``; "" for none."""

    def __init__(self, *args: Any, needs: str = "", **attributes: Any):
        super().__init__(*args, **attributes)
        self.needs = needs


class Command(click.Command):
    """A command that drops no value: each option is given once, and with the one that it needs.

    An option may be given more than once only if it may be repeated.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        given = {
            one.name
            for one in self.params
            if one.name and ctx.get_parameter_source(one.name) is ParameterSource.COMMANDLINE
        }
        for one in self.params:
            needs = one.needs if isinstance(one, NeedyOption) else ""
            if one.name in given and needs and needs not in given and not ctx.resilient_parsing:
                raise alone(one.name, needs)
        return rest

    def make_parser(self, ctx: click.Context) -> Any:
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_once(args: list[str]) -> Any:
            found = parse(args)
            for one in found[2]:
                if isinstance(one, click.Option) and found[2].count(one) > 1:
                    if one.multiple or one.is_eager:
                        continue
                    flags = " / ".join((*one.opts, *one.secondary_opts))
                    raise click.UsageError(f"{flags} is given more than once; give it once.", ctx)
            return found

        parser.parse_args = parse_once  # type: ignore[method-assign]
        return parser


def _check_text(kind: click.ParamType, value: Any, param: Any, ctx: Any) -> None:
    """Refuse what names no file: nothing, and "-", which to other commands is a stream."""
    if value == "":
        kind.fail("It is empty; name a file or folder.", param, ctx)
    if value == "-":
        kind.fail("A stream is neither read nor written; a file called - is ./-.", param, ctx)
    if "\0" in str(value):
        kind.fail("A path cannot hold the character NUL.", param, ctx)


class _Path(click.Path):
    """A path of a file or folder."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        _check_text(self, value, param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path)


class _FileOrZoo(click.ParamType):
    """A file, or a name of the zoo: text that shells complete as either."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        _check_text(self, value, param, ctx)
        return super().convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        if not incomplete.startswith("zoo:"):
            return [CompletionItem(incomplete, type="file")]
        import model_zoo

        names = (f"zoo:{entry.name}" for entry in model_zoo.entries())
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


FILE_OR_ZOO = _FileOrZoo()


_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")


class WholeNumber(click.IntRange):
    """A whole number within bounds, of the digits 0 to 9."""

    name = "whole number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, str) and not _WHOLE.fullmatch(value):
            self.fail(f"{value!r} is not a whole number.", param, ctx)
        return int(super().convert(value, param, ctx))

    def _describe_range(self) -> str:
        """What the help says of the bounds; click names None where there are none."""
        return "" if self.min is self.max is None else super()._describe_range()


class Number(click.FloatRange):
    """A finite number within bounds; click alone lets "nan" pass any of them."""

    name = "number"  # in "'20%' is not a valid number."

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            number = super().convert(parse_number(str(value)), param, ctx)
        except ValueError:
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return float(number)


class Parsed(click.ParamType):
    """A value that a function of the library reads from a text."""

    name = "value"

    def __init__(self, parse: Callable[[str], Any]):
        self._parse = parse

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def declared_options(kind: type, *only: str, needs: str = "") -> Decorator:
    """Every option that the dataclass ``kind`` declares, or ``only`` some of them.

    Args:
        kind: dataclass.
        only: names of options; all of them by default.
        needs: an option of the command without which these do nothing, besides what they declare.
    """
    hints, declared = typing.get_type_hints(kind), options_of(kind)
    declared = {name: declared[name] for name in only or declared}
    if needs:
        declared = {name: replace(one, needs=needs) for name, one in declared.items()}
    defaults = {name: kind.__dataclass_fields__[name].default for name in declared}  # type: ignore[attr-defined]
    return _together(
        *(_click_option(name, one, hints[name], defaults[name]) for name, one in declared.items())
    )


class ResultFile(click.Path):
    """A file to write when all else is done; whether it can be written is checked at once.

    Args:
        parents: whether its folder is made if needed.
        auto: whether the word "auto" may stand in its place.
        text: whether it is text, and so replaces no file that is something else, as an image.
    """

    name = "file"

    def __init__(self, *, parents: bool = False, auto: bool = False, text: bool = True):
        super().__init__(path_type=Path, dir_okay=False)
        self._parents, self._auto, self._text = parents, auto, text

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if self._auto and value == "auto":
            return value
        _check_text(self, value, param, ctx)
        from analyzer.output_files import check_place  # numpy, which no help pays for

        path = Path(os.fsdecode(value))
        try:
            check_place(path, parents=self._parents, text=self._text)
        except OutputError as error:
            self.fail(str(error), param, ctx)
        return path


def out_folder(what: str) -> Decorator:
    """``--out DIR``, required; whether it can be written is said where it is."""
    kind = _Path(path_type=Path, readable=False)
    return click.option("--out", type=kind, required=True, metavar="DIR", help=what)


resume_option = click.option(
    "--resume/--fresh",
    default=True,
    help="Resume what the folder holds (the default), or start again and replace it.",
)

progress_option = click.option(
    "--progress",
    "shown",
    type=click.Choice(PROGRESS),
    default="auto",
    show_default=True,
    metavar="|".join(PROGRESS),
    help="A bar, a line every 30 s, or nothing; auto is a bar on a terminal and lines elsewhere.",
)

wait_option = click.option(
    "--wait", is_flag=True, help="Wait while another run writes --out, rather than refuse."
)


def out_file(what: str, *, text: bool = True) -> Decorator:
    """``-o FILE``, required; a folder is refused."""
    return click.option(
        "-o",
        "--out",
        type=ResultFile(text=text),
        required=True,
        metavar="FILE",
        help=what,
    )


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
)


def budget_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How much the files may ask for."""
    from analyzer.audit_options import BudgetOptions

    return declared_options(BudgetOptions)(function)


def site_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is masked."""
    from analyzer.audit_options import SiteOptions

    return declared_options(SiteOptions)(function)


def image_size_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The size of the network's images alone."""
    from analyzer.data.preprocessing.preprocess_options import PreprocessOptions

    return declared_options(PreprocessOptions, "img_size")(function)


def data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which samples are read, and how they are preprocessed."""
    from analyzer.audit_options import DataOptions
    from analyzer.data.preprocessing.preprocess_options import PreprocessOptions

    return declared_options(DataOptions)(declared_options(PreprocessOptions)(function))


def remeasuring_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How much of an audit is measured again, and from what where its record does not say it."""
    from analyzer.audit_options import (
        DataOptions,
        DrawOptions,
        MeasureOptions,
        RunOptions,
        SiteOptions,
    )

    return _together(
        declared_options(DrawOptions, needs="data"),
        declared_options(DataOptions, "keys", "classes", "inputs", needs="data"),
        declared_options(MeasureOptions, "groups", needs="data"),
        declared_options(SiteOptions, "custom_ops", needs="data"),
        declared_options(RunOptions, "device", needs="data"),
    )(function)


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where the network runs."""
    from analyzer.audit_options import RunOptions

    return declared_options(RunOptions)(function)


def measure_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is measured."""
    from analyzer.audit_options import MeasureOptions

    return declared_options(MeasureOptions)(function)


def test_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Test data."""
    from analyzer.audit_options import TestOptions

    return declared_options(TestOptions)(function)


def limit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the network must keep to pass."""
    from analyzer.audit_options import LimitOptions

    return declared_options(LimitOptions)(function)


def request_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options of a command line as :func:`analyzer.api.audit_request` takes them."""
    from analyzer.data import PreprocessOptions

    declared = options_of(PreprocessOptions)
    preprocess = {name: given[name] for name in declared if given[name] is not None}
    others = {name: value for name, value in given.items() if name not in declared}
    return {**others, "preprocess": PreprocessOptions(**preprocess)}


def _together(*options: Decorator) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _click_option(name: str, declared: Option, hint: Any, default: Any) -> Decorator:
    flag = declared.flag_of(name)
    kind = _without_none(hint)
    if kind is bool:
        both = default is None  # may be left open, so there is a flag for either
        return click.option(
            f"{flag}/--no-{flag[2:]}" if both else flag,
            name,
            is_flag=True,
            default=default,
            help=declared.help,
        )
    return click.option(
        flag,
        name,
        type=_click_type(declared, kind),
        default=default,
        multiple=declared.repeated,
        show_default=declared.show_default,
        metavar=declared.metavar or None,
        help=declared.help,
        cls=NeedyOption,
        needs=declared.needs,
    )


def _click_type(declared: Option, kind: Any) -> click.ParamType:
    least = declared.least if math.isfinite(declared.least) else None
    most = declared.most if math.isfinite(declared.most) else None
    if declared.parse is not None:
        return Parsed(declared.parse)
    if declared.choices:
        return click.Choice(declared.choices)
    if kind is int:
        return WholeNumber(
            None if least is None else int(least), None if most is None else int(most)
        )
    if kind is float:
        return Number(least, most, min_open=declared.open_least, max_open=declared.open_most)
    if kind is Path:
        return PATH
    return FILE_OR_ZOO if re.search("FILE|DATA", declared.metavar) else click.STRING


def _without_none(hint: Any) -> Any:
    """The first type that an annotation allows besides None."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


_EXIT_CODES = {
    0: "done",
    2: "bad usage or bad input",
    3: "a defect of onnx-gap",
    130: "interrupted",
    141: "whoever read its output has stopped",
}


def exit_codes(others: Mapping[int, str] = MappingProxyType({})) -> str:
    """The end of a command's help: what its exit codes mean.

    Args:
        others: besides those that all commands have, or what these mean here.
    """
    meanings = sorted((_EXIT_CODES | dict(others)).items())
    return f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in meanings)}."
