"""The page of docs/INTEROP.md, a section for each framework, and what an interrupted run keeps."""

import importlib
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "interop"


@pytest.fixture
def tool(monkeypatch):
    """(name) → a module of the tool, which is a folder that runs as a program."""
    monkeypatch.syspath_prepend(str(TOOL))
    yield importlib.import_module
    for name in ("auditing", "cells", "page"):
        sys.modules.pop(name, None)


def test_a_framework_that_was_done_again_replaces_its_own_section(tool, tmp_path):
    page, auditing, cells = (tool(name) for name in ("page", "auditing", "cells"))

    def row(source, network, result, note=""):
        return auditing.Row(cells.Cell(source, network, "exporter 1", note=note), result=result)

    file = tmp_path / "page.md"
    page.replace_sections(file, [row("One", "a", "pass"), row("Two", "b", "pass | 2", "A note.")])
    first = file.read_text(encoding="utf-8")
    assert "| a | exporter 1 | – | – | – | – | – | pass |" in first
    assert "pass \\| 2 |" in first
    assert first.rstrip().endswith("A note.")
    page.replace_sections(file, [row("One", "c", "refused")])
    again = file.read_text(encoding="utf-8")
    head, _, rest = again.partition("## One\n")
    assert head == first.partition("## One\n")[0]
    one, _, two = rest.partition("## Two\n")
    assert "| c |" in one
    assert "| a |" not in one
    assert two == first.partition("## Two\n")[2]


def test_what_is_there_is_neither_exported_nor_audited_again(tool, tmp_path):
    auditing, cells = tool("auditing"), tool("cells")
    built = []

    def build(place):
        built.append(place.name)
        return cells.Cell("One", place.name, "exporter 1")

    failed = cells.Cell("One", "", "exporter 1")
    cells.export_all(tmp_path, {"One VGG": build}, ["resnet"], failed)
    for _ in range(2):
        cells.export_all(tmp_path, {"One VGG": build, "One ResNet": build}, ["VGG"], failed)
    assert built == ["one-vgg"]
    row = auditing.Row(cells.read_cell(tmp_path / "one-vgg"), result="pass", passed=True)
    auditing.write_row(tmp_path / "one-vgg", row)
    assert auditing.read_row(tmp_path / "one-vgg") == row
