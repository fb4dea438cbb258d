"""What files may ask for, and how it is raised."""

import math
import os
from dataclasses import fields

import pytest

from analyzer import AuditRequest
from analyzer.errors import AnalyzerError, DataError
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets, parse_budget
from analyzer.make_request import audit_request


def test_an_excess_names_the_budget_and_what_raises_it():
    small = Budgets(pixels=100)
    assert small.excess("pixels", 100) is None
    said = str(DataError(f"It has {small.excess('pixels', 101)}."))
    assert "more than the budget of 100 pixels" in said
    assert said.endswith("pass budget=pixels=101.")
    assert small.raised([parse_budget("pixels=101")]).excess("pixels", 101) is None


def test_a_file_may_give_ten_times_what_it_takes_on_disk(tmp_path):
    small = Budgets(bytes=100)
    file = tmp_path / "file"
    file.write_bytes(os.urandom(40_000))
    assert small.excess_of_file(file, 400_000) is None
    assert "bytes=500000" in small.excess_of_file(file, 500_000)


def test_no_limit():
    assert parse_budget("function-nodes=none") == ("function_nodes", None)
    assert (
        "--budget turns=none"
        in DataError(f"It has {DEFAULT_BUDGETS.excess('turns', math.inf)}.").for_command_line()
    )
    free = DEFAULT_BUDGETS.raised([parse_budget("all=none")])
    assert not any(free.excess(field.name, math.inf) for field in fields(Budgets))


def test_a_budget_is_given_one_value():
    assert Budgets(pixels=3) == DEFAULT_BUDGETS.raised([("pixels", 3), ("pixels", 3)])
    for values in ((3, 4), (None, 3)):
        with pytest.raises(AnalyzerError, match="pixels is given two values with budget"):
            DEFAULT_BUDGETS.raised([("pixels", value) for value in values])
    with pytest.raises(AnalyzerError, match="function_nodes is given two values"):
        DEFAULT_BUDGETS.raised([("function_nodes", 3), ("function-nodes", 4)])


def test_a_hole_takes_nothing(tmp_path):
    file = tmp_path / "hole"
    with file.open("wb") as hole:
        hole.truncate(1 << 40)
    if file.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("this file system has no holes")
    assert DEFAULT_BUDGETS.excess_of_file(file, 1 << 40)


def test_budgets_of_a_request():
    assert parse_budget("bytes=2G") == ("bytes", 2 << 30)
    for given in ("pixels=200", ["pixels=200"], {"pixels": 200}, [("pixels", 200)]):
        request = audit_request("zoo:digits-c0", None, "out", budget=given)
        assert request.budgets == Budgets(pixels=200)
        assert "budget" not in request.settings()
    assert AuditRequest(model="m", data="d", out="o").budgets == DEFAULT_BUDGETS


@pytest.mark.parametrize(
    "text", ["pixels", "pixels=", "=3", "x=3", "pixels=0", "bytes=-1", "", "all=3"]
)
def test_what_is_no_budget(text):
    with pytest.raises(ValueError, match=r"budget|is not a size"):
        parse_budget(text)


@pytest.mark.parametrize(
    "given", [{"x": 1}, {"pixels": 0}, {"pixels": 1.5}, {"pixels": "3"}, {"all": 3}]
)
def test_what_is_no_budget_in_the_library(given):
    with pytest.raises(AnalyzerError, match="is no budget"):
        DEFAULT_BUDGETS.raised(given.items())
