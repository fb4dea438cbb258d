import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest

from analyzer.errors import GapModelError
from analyzer.json_codec import JSON_NAME, JsonSource, decode, encode, parse_json, repeated

SOURCE = JsonSource("The file x.json", GapModelError, "Make it again.", largest=1e100)


@dataclass(frozen=True)
class Inner:
    pair: tuple[float, float]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    count: int
    share: float | None
    inner: Inner
    anything: Mapping[str, Any]
    either: Mapping[str, Sequence[float] | Sequence[str]]
    renamed: bool = field(default=False, metadata={JSON_NAME: "called"})
    found: Mapping[str, float] = field(default_factory=dict)


WHOLE = Outer(3, None, Inner((0.5, 1.0), ("a",)), {"deep": [{}]}, {"x": [1.0], "y": ["b"]}, True)


def test_a_record_comes_back_as_it_was():
    value = json.loads(json.dumps(encode(WHOLE, "outer")))
    assert list(value) == ["count", "share", "inner", "anything", "either", "called", "found"]
    assert decode(Outer, value, SOURCE) == WHOLE


def test_a_literal_is_itself_alone():
    assert decode(int | Literal["all"] | None, "all", SOURCE) == "all"
    assert decode(int | Literal["all"] | None, 3, SOURCE) == 3
    with pytest.raises(GapModelError, match="'part' must be an integer or 'all', not 'some'"):
        decode(int | Literal["all"] | None, "some", SOURCE, "part")


def test_what_is_unknown_is_ignored_and_what_has_a_default_may_be_missing():
    value = encode(WHOLE, "outer") | {"later": 1}
    del value["called"], value["found"], value["inner"]["texts"]
    again = decode(Outer, value, SOURCE)
    assert (again.renamed, again.found, again.inner.texts) == (False, {}, ())


@pytest.mark.parametrize("number", [math.nan, math.inf, np.float64("nan")])
def test_what_json_does_not_have_is_not_encoded(number):
    with pytest.raises(ValueError, match=r"outer\[1\]\.a is (nan|inf)"):
        encode([1, {"a": number}], "outer")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("count", 1.0, "the field 'count' must be an integer, not 1.0"),
        ("count", 2**63, "'count' must be an integer of 64 bits, not 9223372036854775808"),
        ("count", True, "'count' must be an integer, not True"),
        ("share", "1", "'share' must be a number, not '1'"),
        ("share", math.nan, "'share' must be a finite number, not nan"),
        ("share", 10**400, "'share' must be a finite number, not 1000"),
        ("share", -1e101, "'share' must be a number from -1e+100 to 1e+100, not -1e+101"),
        ("inner", [], "'inner' must be an object, not a list of 0"),
        ("inner", {}, "has no field 'inner.pair'"),
        ("inner", {"pair": [1]}, "'inner.pair' must be a list of 2, not a list of 1"),
        ("inner", {"pair": [1, {}]}, "'inner.pair[1]' must be a number, not an object"),
        ("anything", 3, "'anything' must be an object, not 3"),
        (
            "either",
            {"x": [1, None]},
            "'either.x' must be a list of numbers or a list of strings",
        ),
        ("called", 1, "'called' must be true or false"),
        ("found", {"x": None}, "'found.x' must be a number, not None"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(field, value, said):
    with pytest.raises(GapModelError) as caught:
        decode(Outer, encode(WHOLE, "outer") | {field: value}, SOURCE)
    assert said in str(caught.value)
    assert str(caught.value).startswith("The file x.json")
    assert str(caught.value).endswith(". Make it again.")


def test_a_long_or_deep_value_is_shown_short():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x" * 1000):
        with pytest.raises(GapModelError) as caught:
            decode(Outer, encode(WHOLE, "outer") | {"count": value}, SOURCE)
        assert len(str(caught.value)) < 150


def test_a_member_that_is_there_twice_is_no_json():
    assert parse_json('{"a": {"b": 1}, "c": [{"b": 2}]}') == {"a": {"b": 1}, "c": [{"b": 2}]}
    with pytest.raises(ValueError, match="two members named 'b'"):
        parse_json('{"a": {"c": 0, "b": 1, "b": 1}}')


def test_the_first_name_that_is_there_twice():
    assert repeated(["b", "c", "a", "c", "b"]) == "c"
    assert repeated(["a", "b"]) is None
    assert repeated([*map(str, range(300_000)), "7"]) == "7"  # in proportion to their number
