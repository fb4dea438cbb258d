"""Whatever warns does so in full sentences, wherever in the code the sentence is made."""

import ast
import re
from collections.abc import Iterator

import pytest
from cli_commands import ROOT

# Functions whose texts are warnings, names that hold them, and calls that show them.
MAKERS = {
    "_warnings", "warnings", "_unmeasured", "outside", "_outside", "_other", "_beyond",
    "_other_accuracy", "_other_size", "_other_samples", "_other_images", "_other_site",
    "_undeclared", "_classes_as_units", "_settle_values", "caution",
    "installation_warning", "at_chance", "_obstacle",
}  # fmt: skip
HOLDERS = {"warning", "warnings", "note", "notes", "left_out"}
COLLECTED = {"found", "outside"}  # by those functions
SHOWERS = {"warn", "say"}
PARTS = {
    "why",
    "way_out",
    "error",
    "sentence",
    "found",
    "missed",
}  # that are sentences, or end one


def texts(tree: ast.AST) -> Iterator[ast.JoinedStr | ast.Constant]:
    """Every text that a part of a program is, alone or in a tuple or list, or may be."""
    match tree:
        case ast.JoinedStr() | ast.Constant(value=str()):
            yield tree
        case ast.Tuple() | ast.List():
            for item in tree.elts:
                yield from texts(item)
        case ast.IfExp():
            yield from texts(tree.body)
            yield from texts(tree.orelse)
        case ast.ListComp():
            yield from texts(tree.elt)


def warnings_of(module: ast.Module) -> Iterator[ast.JoinedStr | ast.Constant]:
    for node in ast.walk(module):
        match node:
            case ast.FunctionDef() if node.name in MAKERS:
                for inner in ast.walk(node):
                    match inner:
                        case ast.Yield(value=ast.expr() as value):
                            yield from texts(value)
                        case ast.Return(value=ast.expr() as value):
                            yield from texts(value)
                        case ast.Call(
                            func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[value]
                        ) if name in COLLECTED:
                            yield from texts(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in HOLDERS:
                yield from texts(value)
            case ast.keyword(arg="warnings", value=value):
                yield from texts(value)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[value]
            ) if name in HOLDERS:
                yield from texts(value)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[value]) if (
                name in SHOWERS
            ):
                yield from texts(value)


def is_sentence(text: ast.JoinedStr | ast.Constant) -> bool:
    """Whether it begins with no small Latin letter, and ends with a full stop or a sentence."""
    first, *_, last = [*getattr(text, "values", [text])] * 2
    begun = not (isinstance(first, ast.Constant) and re.match("[a-z]", first.value))
    match last:
        case ast.Constant(value=str() as end):
            return begun and (end == "" or end.rstrip().endswith("."))
        case ast.FormattedValue(value=ast.Name(id=name)):
            return begun and name in PARTS
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="_repair"))):
            return begun
    return False


def test_every_warning_is_a_full_sentence():
    found = {
        f"{path.relative_to(ROOT)}:{text.lineno}": text
        for path in sorted((ROOT / "analyzer").rglob("*.py"))
        for text in warnings_of(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert len(found) > 60
    assert [where for where, text in found.items() if not is_sentence(text)] == []


@pytest.mark.parametrize(
    ("code", "right"),
    [
        ("warn('All is well.')", True),
        ("warn('All is well')", False),
        ("say(f'all of {them} are well.')", False),
        ("say(f'All of {them}')", False),
        ("warnings.append(f'{some} are not well. {way_out}')", True),
        ("notes = ('One.', 'Two')", False),
    ],
)
def test_what_is_no_sentence_is_found(code, right):
    found = list(warnings_of(ast.parse(code)))
    assert found
    assert all(map(is_sentence, found)) is right
