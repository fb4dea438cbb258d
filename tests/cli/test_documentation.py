"""docs/COMMANDS.md and the pages with commands against the command line as it is."""

import json
import re
import shlex
from dataclasses import fields

import click
import pytest
from cli_commands import ROOT, commands

from analyzer.audit_record import AuditRecord, ClassRecord, GapRecord, ToleranceRecord
from analyzer.cli.click_options import request_options
from analyzer.data.preprocessing.preprocess_options import make_spec
from analyzer.measures.registry import MEASURES

ALL = commands()
COMMANDS = (ROOT / "docs" / "COMMANDS.md").read_text(encoding="utf-8")
TOUR = (ROOT / "docs" / "TOUR.md").read_text(encoding="utf-8")
CI, GALLERY = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("CI", "GALLERY")
)
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    """What the reference says of a command, up to the next heading."""
    return COMMANDS.split(f"\n### {name}\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]


def command_lines(text: str) -> list[str]:
    """The commands in the shell blocks of a page, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [re.search(r"\bonnx-gap (.*)", line) for line in lines]
    return [match[1].split("  #")[0].split(" && ")[0] for match in found if match]


@pytest.mark.parametrize("name", [name for name in ALL if not isinstance(ALL[name], click.Group)])
def test_every_option_of_every_command_is_in_the_reference(name):
    shared = section("Site") + section("Data") + section("Run")
    for parameter in ALL[name].params:
        if isinstance(parameter, click.Argument):
            assert parameter.human_readable_name in section(name)
        elif parameter.name != "help":
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert f"`{option}" in section(name) + shared, option


@pytest.mark.parametrize("name", [name for name in ALL if not isinstance(ALL[name], click.Group)])
def test_exit_codes_of_the_reference_are_in_the_help(name):
    named = set(re.findall(r"(?:[Ee]xits? with|exit code) (\d)", section(name)))
    every_command = {"0", "2", "3", "130", "141"}
    assert named | every_command <= set(re.findall(r"[:;] (\d+) ", ALL[name].epilog))


def test_the_reference_names_no_option_that_there_is_not():
    known = {
        option
        for command in ALL.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    named = set(re.findall(r"`(--?[a-z][a-z0-9-]*)", COMMANDS))
    assert named <= known | {"--help", "-h", "--version"}


def test_every_field_of_the_record_is_in_the_reference():
    sections = {measure.name: measure.section for measure in MEASURES if measure.section}
    records = (AuditRecord, ClassRecord, GapRecord, ToleranceRecord, *sections.values())
    names = {field.name for record in records for field in fields(record)} - {"sections"}
    for name in names | sections.keys():
        assert f"`{name}`" in COMMANDS, name


@pytest.mark.parametrize(
    "page", [TOUR, README, CI, GALLERY], ids=["TOUR", "README", "CI", "GALLERY"]
)
def test_command_lines_in_the_pages_are_understood(page):
    lines = command_lines(page)
    assert lines
    for line in lines:
        words = shlex.split(line)
        name = " ".join(words[:2]) if words[0] == "zoo" else words[0]
        arguments = words[len(name.split()) :]
        ALL[name].make_context(name, arguments, resilient_parsing=False)


def test_options_of_the_preprocessing_page_are_understood():
    """The options beside every step, as a command line and as the library takes them."""
    page = (ROOT / "docs" / "PREPROCESSING.md").read_text(encoding="utf-8")
    cells = [line.split(" | ")[-1] for line in page.splitlines() if line.startswith("| ")]
    lines = [part for cell in cells for part in re.findall(r"`(--[^`]*)`", cell)]
    assert len(lines) > 30
    for line in lines:
        arguments = ["zoo:digits-c0", "--out", "a", *shlex.split(line)]
        given = ALL["audit"].make_context("audit", arguments).params
        make_spec(request_options(given)["preprocess"])


def test_examples_in_help_are_understood():
    for name, command in ALL.items():
        for line in re.findall(r"^ +onnx-gap (.*)$", command.help, re.MULTILINE):
            assert len(f"    onnx-gap {line}") <= 80, "broken in a terminal of 80 columns"
            words = shlex.split(line)
            inner = " ".join(words[:2]) if words[0] == "zoo" else words[0]
            assert inner == name or isinstance(command, click.Group)
            ALL[inner].make_context(inner, words[len(inner.split()) :])


def test_json_fields_of_the_reference_are_those_of_an_audit(onnx_gap):
    shown = onnx_gap("audit", "zoo:digits-c0", "--limit-per-class", 2, "--out", "a", "--json")
    block = re.search(r"```json\n(.*?)```", COMMANDS, re.DOTALL)[1]
    example = json.loads(block)
    assert example.keys() == shown.json.keys()
    for name in ("model", "data", "site", "gap", "device", "seconds", "rows"):
        assert example[name].keys() == shown.json[name].keys(), name
    assert example["classes"][0].keys() == shown.json["classes"][0].keys()
