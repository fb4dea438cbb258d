import ast
import copy
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import analyzer.audit.population
import analyzer.runtime.batch_size  # noqa: F401
from analyzer import errors
from analyzer.audit_options import AuditRequest
from analyzer.data import PreprocessOptions
from analyzer.errors import AnalyzerError, DataError, parameter
from analyzer.option_mechanism import options_of


@pytest.mark.parametrize(
    ("named", "in_the_library", "on_the_command_line"),
    [
        (parameter("keys"), "keys", "--keys"),
        (parameter("img_size", 8), "img_size=8", "--img-size 8"),
        (parameter("skip_bad", True), "skip_bad=True", "--skip-bad"),
        (parameter("scale", 0), "scale=0", "--scale 0"),
        (parameter("site", "a=b `c` {d}"), "site=a=b `c` {d}", "--site a=b `c` {d}"),
    ],
)
def test_parameters_are_named_as_the_reader_gives_them(named, in_the_library, on_the_command_line):
    error = DataError(f"File {{x}} of `y` is bad. Pass {named}, not {named}.")
    begin = "File {x} of `y` is bad. Pass"
    assert str(error) == f"{begin} {in_the_library}, not {in_the_library}."
    assert error.for_command_line() == f"{begin} {on_the_command_line}, not {on_the_command_line}."


def test_a_flag_that_is_not_the_parameters_name():
    error = DataError(f"Pass {parameter('preset', 'none')} or {parameter('mean')}.")
    assert error.for_command_line() == "Pass --preprocess none or --mean."
    declared = {**options_of(AuditRequest), **options_of(PreprocessOptions)}
    assert {name: one.flag for name, one in declared.items() if one.flag} == errors._OTHER_FLAGS


def test_a_command_names_flags_in_every_message_also_of_other_processes():
    error = DataError(f"Pass {parameter('fresh', True)}.")
    with errors.naming_flags():
        assert f"{error}" == str(pickle.loads(pickle.dumps(error))) == "Pass --fresh."
        assert error.for_library() == "Pass fresh=True."
    assert str(error) == "Pass fresh=True."


def test_what_a_message_asks_for():
    error = DataError(f"Pass {parameter('fresh', True)}, not min_accuracy.")
    assert error.asks_for("fresh")
    assert not error.asks_for("min_accuracy")


def test_nothing_but_the_plain_message_shows():
    error = DataError(f"Pass {parameter('keys')}.")
    assert repr(error) == "DataError('Pass keys.')"
    assert error.args == ("Pass keys.",)


def test_marks_survive_another_process_and_another_message():
    error = pickle.loads(pickle.dumps(DataError(f"Pass {parameter('keys')}.")))
    assert str(error) == "Pass keys."
    assert DataError(f"a.npz: {error.message}").for_command_line() == "a.npz: Pass --keys."


def _kinds(base: type[AnalyzerError] = AnalyzerError) -> Iterator[type[AnalyzerError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


_WAYS = {
    **{f"pickle {n}": lambda one, n=n: pickle.loads(pickle.dumps(one, n)) for n in range(6)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def _error_of(kind: type[AnalyzerError]) -> AnalyzerError:
    more = ({"outcome": "fail"}, 0.25, [1, 2]) if kind is errors.AuditStopped else ()
    error = kind(f"Pass {parameter('keys')}.", *more)
    error.place = Path("a")
    error.add_note("seen at night")
    return error


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("kind", list(_kinds()), ids=lambda kind: kind.__name__)
def test_every_error_is_pickled_and_copied_whole(kind, way):
    error = _error_of(kind)
    if kind is errors.AuditStopped:
        error.record, error.report = {"accuracy": 0.25}, Path("report.html")
    again = _WAYS[way](error)
    assert type(again) is kind
    assert again.args == error.args
    assert vars(again) == vars(error)
    assert again.for_command_line() == "Pass --keys."


@pytest.mark.parametrize("kind", list(_kinds()), ids=lambda kind: kind.__name__)
def test_every_error_can_be_about_another_parameter(kind):
    error = _error_of(kind)
    other = error.renamed("keys", "test_keys")
    assert type(other) is kind
    assert other.args == ("Pass test_keys.",)
    assert error.args == ("Pass keys.",)
    assert {**vars(other), "message": error.message} == vars(error)


@pytest.mark.parametrize("name", errors.__all__)
def test_one_base_catches_them_all(name):
    found = getattr(errors, name)
    assert found in (parameter, errors.naming_flags) or issubclass(found, AnalyzerError)


def test_an_error_can_be_about_another_parameter():
    keys, data = (parameter("keys"), parameter("keys", "a,b")), parameter("data")
    error = DataError(f"Name two with {keys[0]}, as {keys[1]}, {data}.")
    other = error.renamed("keys", "test_keys")
    assert type(other) is DataError
    assert other.for_command_line() == "Name two with --test-keys, as --test-keys a,b, --data."
    column = error.renamed("keys", "the column", is_parameter=False)
    assert column.for_command_line() == "Name two with the column, as the column=a,b, --data."


def _texts_of_errors(module: Path) -> Iterator[tuple[int, str]]:
    """Every text in a call that makes an error, or says what an error's way out is."""
    kinds = {
        "JsonSource",
        *(name for name in errors.__all__ if name not in ("parameter", "naming_flags")),
    }
    for call in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in kinds:
            for part in ast.walk(call):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value


def test_no_error_of_the_library_names_a_flag():
    package = Path(errors.__file__).parent
    found = [
        f"{module.relative_to(package)}:{line}"
        for module in package.rglob("*.py")
        if module.parent.name != "cli"
        for line, text in _texts_of_errors(module)
        if re.search(r"(?<![\w-])--[a-z]", re.sub("`pip [^`]*", "", text))  # pip's are its own
    ]
    assert found == []
