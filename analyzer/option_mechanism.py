"""Options, declared once: fields of a dataclass that carry what the command line says of them.

A field made with :func:`option` is all that a new option takes: the command line, the settings in
``audit.json`` and the identity of an audit follow from it.
"""

import dataclasses
import difflib
import math
import numbers
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from analyzer.errors import AnalyzerError, DataError, parameter

__all__ = [
    "Option",
    "alone",
    "check_values",
    "coerced",
    "identity_of",
    "option",
    "options_of",
    "parse_assignment",
    "parse_factor",
    "parse_image_size",
    "parse_names",
    "parse_number",
    "parse_numbers",
    "parse_part",
    "parse_resize",
    "parse_size",
    "refuse_alone",
    "settings_of",
]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is said of an option, wherever it is asked for."""

    help: str  # one sentence or two, for people
    metavar: str = ""  # what stands for its value
    flag: str = ""  # on the command line; "" for the field's name
    choices: tuple[str, ...] = ()  # the values it can have
    least: float = -math.inf  # bounds of a number
    most: float = math.inf
    open_least: bool = False  # the bound itself is left out
    open_most: bool = False
    parse: Callable[[str], Any] | None = None  # from a text, where the type does not say
    repeated: bool = False  # may be given several times
    show_default: bool = False
    setting: bool = True  # listed among the settings of a result
    identity: bool = False  # another value is another audit
    needs: str = ""  # another option, without which this one does nothing

    def flag_of(self, name: str) -> str:
        """The flag of the field ``name``."""
        return self.flag or "--" + name.replace("_", "-")


def option(default: Any, help: str, **details: Any) -> Any:
    """A dataclass field that is an option; ``details`` are fields of :class:`Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(help=help, **details)})


def options_of(kind: type) -> Mapping[str, Option]:
    """The options that a dataclass declares, by field."""
    return {
        field.name: field.metadata["option"]
        for field in dataclasses.fields(kind)
        if "option" in field.metadata
    }


def coerced(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the options of a dataclass hold them: texts read, paths made of texts.

    Raises:
        TypeError: ``kind`` has no option of a name; those that are near are named. Or a value is of
            another type than the option.
        ValueError: a text cannot be read, or a number is not finite.
    """
    hints, declared = get_type_hints(kind), options_of(kind)
    for name in values:
        if name not in hints:
            near = difflib.get_close_matches(name, hints)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise TypeError(f"There is no option {name!r}{hint}")
    found = {
        name: _coerced(name, value, declared.get(name), hints[name])
        for name, value in values.items()
    }
    for name, value in found.items():
        _check_type(name, value, hints[name])
    return found


def _coerced(name: str, value: Any, declared: Option | None, hint: Any) -> Any:
    if hint is bool:
        if getattr(value, "shape", None) == ():  # numpy's
            value = value.item()
        return bool(value) if isinstance(value, numbers.Integral) and value in (0, 1) else value
    if declared is not None and declared.repeated and isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else value
        return tuple(_assignment(name, one, declared, get_args(hint)[0]) for one in items)
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, numbers.Real) and not isinstance(value, int | float):  # of numpy
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if isinstance(value, Path) and Path not in (hint, *get_args(hint)):
        return str(value)
    if declared is None or not isinstance(value, str):
        return value
    if declared.parse is not None:
        parsed = declared.parse(value)
        return (parsed,) if declared.repeated else parsed
    return Path(value) if Path in (hint, *get_args(hint)) and str not in get_args(hint) else value


def _assignment(name: str, given: Any, declared: Option, hint: Any) -> Any:
    """One of the pairs of an option that may be repeated; as texts, where it holds texts."""
    if isinstance(given, str):
        return declared.parse(given) if declared.parse else given
    if not (isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[0], str)):
        raise TypeError(
            f"{name} holds a {type(given).__name__}; it takes {declared.metavar}, or pairs of a "
            "name and a value."
        )
    key, value = given
    if get_args(hint)[1] is not str or isinstance(value, str):
        return key, value
    if isinstance(value, numbers.Integral):
        return key, str(int(value))
    if isinstance(value, numbers.Real):
        return key, repr(float(value))
    if isinstance(value, Path):
        return key, str(value)
    raise TypeError(
        f"{name} gives {key!r} a value of type {type(value).__name__}; it takes a number, or the "
        "path of a file."
    )


_TAKEN: Mapping[Any, tuple[type, ...]] = {
    int: (numbers.Integral,),
    float: (numbers.Real,),
    str: (str, Path),
    Path: (str, Path),
}
"""What stands for a type, where more than the type itself does."""


def _check_type(name: str, value: Any, hint: Any) -> None:
    """Refuse a value of another type than ``hint`` allows, or a number that is not finite."""
    is_union = get_origin(hint) in (Union, types.UnionType)
    allowed = get_args(hint) if is_union else (hint,)
    words = [one for part in allowed if get_origin(part) is Literal for one in get_args(part)]
    if isinstance(value, str) and value in words:
        return
    kinds = [get_origin(part) or part for part in allowed if get_origin(part) is not Literal]
    no_number = isinstance(value, bool) and bool not in kinds
    if no_number or not any(isinstance(value, _TAKEN.get(kind, (kind,))) for kind in kinds):
        wanted = " or ".join("None" if kind is types.NoneType else kind.__name__ for kind in kinds)
        raise TypeError(f"{name} is of type {type(value).__name__}; it takes {wanted}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{parameter(name)} is {value}, which is not a finite number.")


def check_values(options: Any) -> None:
    """Refuse values that the options of a dataclass cannot have.

    Raises:
        DataError: one is out of bounds, or none of the choices; the sentence names the option.
    """
    for name, declared in options_of(type(options)).items():
        value = getattr(options, name)
        default = getattr(type(options), name)
        if declared.choices and value not in (*declared.choices, default):
            raise DataError(
                f"{parameter(name)} cannot be {value!r}; choose one of "
                f"{', '.join(declared.choices)}."
            )
        if isinstance(value, int | float) and value < declared.least:
            raise DataError(
                f"{parameter(name)} cannot be {value}; the least is {declared.least:g}."
            )
        if isinstance(value, int | float) and value > declared.most:
            raise DataError(f"{parameter(name)} cannot be {value}; the most is {declared.most:g}.")
        if declared.parse is parse_part and isinstance(value, str) and value != "all":
            raise DataError(f"{parameter(name)} cannot be {value!r}; give a number or 'all'.")


def refuse_alone(kind: type, values: Mapping[str, Any]) -> None:
    """Refuse options that do nothing, as the one that they need is not given.

    Args:
        kind: dataclass that declares them.
        values: by name; an option with its default counts as not given.

    Raises:
        AnalyzerError: one of them needs another; the sentence names both.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    declared = options_of(kind)
    given = [name for name in declared if values.get(name, defaults[name]) != defaults[name]]
    for name in given:
        needed = declared[name].needs
        if needed and needed not in given:
            raise alone(name, needed)


def alone(name: str, needed: str) -> AnalyzerError:
    """The error about an option that needs another one, which is not given."""
    return AnalyzerError(
        f"{parameter(name)} does nothing without {parameter(needed)}: give both, or neither."
    )


def settings_of(options: Any) -> dict[str, Any]:
    """The options in force that a result lists, by name."""
    return {
        name: getattr(options, name)
        for name, declared in options_of(type(options)).items()
        if declared.setting
    }


def identity_of(options: Any) -> dict[str, Any]:
    """The options in force that decide what is measured, by name."""
    return {
        name: getattr(options, name)
        for name, declared in options_of(type(options)).items()
        if declared.identity
    }


def parse_size(text: str) -> int:
    """Bytes, from "500M", "2G", "2GB" or a number.

    Raises:
        ValueError: it is not one of these, or 0.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if found is None or not 0 < float(found[1]) < math.inf:
        raise ValueError(f"{text!r} is not a size; write 500M, 2G or a number of bytes.")
    if found[1].isdecimal():  # as a float a large one would be rounded
        return int(found[1]) * _UNITS[found[2]]
    return int(float(found[1]) * _UNITS[found[2]])


def parse_number(text: str) -> float:
    """A number as other programs write it: Python alone takes 1_000, and digits of any script.

    Raises:
        ValueError: it is none.
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a number.")
    return float(text)


def parse_numbers(text: str) -> tuple[float, ...]:
    """Numbers separated by commas or blanks.

    Raises:
        ValueError: one of them is no number.
    """
    try:
        return tuple(parse_number(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        raise ValueError(f"{text!r} is not a list of numbers like 0.485,0.456,0.406.") from None


def parse_factor(text: str) -> float:
    """A factor above 0, from "0.5" or "1/255".

    Raises:
        ValueError: it is neither.
    """
    number, slash, divisor = text.partition("/")
    try:
        factor = parse_number(number) / (parse_number(divisor) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        factor = math.nan
    if not 0 < factor < math.inf:
        raise ValueError(f"{text!r} is not a factor above 0; write a number, or 1/255.")
    return factor


def parse_image_size(text: str) -> tuple[int, int]:
    """(height, width), from "224" or "224x160".

    Raises:
        ValueError: it is neither, or an edge is 0.
    """
    found = re.fullmatch(r"([0-9]+)(?:[x×,]([0-9]+))?", text)
    if found is None or 0 in (int(found[1]), int(found[2] or 1)):
        raise ValueError(f"{text!r} is not an image size; write 224 or 224x160.")
    return int(found[1]), int(found[2] or found[1])


def parse_resize(text: str) -> tuple[int, int] | int | str:
    """An edge from "256", (height, width) from "224x160", or "none".

    Raises:
        ValueError: it is anything else.
    """
    if text.strip() == "none":
        return "none"
    try:
        size = parse_image_size(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a size; write 256, 224x160 or none.") from None
    return int(text) if text.isdecimal() else size


def parse_part(text: str) -> int | Literal["all"]:
    """How many of them: a number, or "all".

    Raises:
        ValueError: it is neither.
    """
    if text.strip() == "all":
        return "all"
    if not re.fullmatch("[0-9]+", text.strip()):
        raise ValueError(f"{text!r} is not a whole number; write one from 0 on, or all.")
    return int(text)


def parse_names(text: str) -> tuple[str, str]:
    """Two names separated by a comma.

    Raises:
        ValueError: there are not two.
    """
    parts = tuple(part.strip() for part in text.split(","))
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"{text!r} is not two names, as in images,labels.")
    return parts[0], parts[1]


def parse_assignment(text: str) -> tuple[str, str]:
    """A name and what it is given, from "NAME=VALUE".

    Raises:
        ValueError: one of the two is missing.
    """
    name, _, given = text.partition("=")
    if not name or not given:
        raise ValueError(f"{text!r} does not give a name a value, as NAME=FILE.npy.")
    return name, given
