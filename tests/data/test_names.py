import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.data.names import CompactNames, NumberedNames, natural_key

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


def test_numbers_sort_by_value():
    shuffled = ["10", "2", "a10", "a2", "1", "b", "A"]
    assert sorted(shuffled, key=natural_key) == ["1", "2", "10", "A", "a2", "a10", "b"]


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_plain_numbers_sort_as_numbers(numbers):
    assert sorted(map(str, numbers), key=natural_key) == [str(n) for n in sorted(numbers)]


@given(st.lists(names, unique=True))
def test_order_does_not_depend_on_what_was_first(values):
    assert sorted(values, key=natural_key) == sorted(reversed(values), key=natural_key)


@given(names, names)
def test_only_equal_names_have_equal_keys(a, b):
    assert (natural_key(a) == natural_key(b)) == (a == b)


@given(st.lists(names))
def test_compact_names_are_the_names(values):
    compact = CompactNames(values)
    assert list(compact) == values
    assert compact[::2] == values[::2]
    assert list(pickle.loads(pickle.dumps(compact))) == values
    assert [compact[i - len(values)] for i in range(len(values))] == values


def test_compact_names_keep_bytes_that_are_no_text():
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert CompactNames([name])[0] == name


@pytest.mark.parametrize("names", [CompactNames(["a"]), NumberedNames(1)])
def test_no_name_beyond_the_end(names):
    with pytest.raises(IndexError):
        names[1]


def test_numbered_names():
    assert list(NumberedNames(3, "row ")) == ["row 0", "row 1", "row 2"]
    assert NumberedNames(3)[1:] == ["1", "2"]
    assert NumberedNames(3)[-1] == "2"
