import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.data import combine_digests, from_arrays, open_data
from analyzer.data.source import LONGEST_NAME, CompactNames, NumberedNames, natural_key
from analyzer.errors import DataError


def test_a_sample_of_a_file_is_decoded_and_digested(class_folders):
    folder = class_folders({"a": 1})
    sample = open_data(folder).read(0)
    assert sample.image.shape == (8, 8, 3)
    assert sample.digest == hashlib.sha256((folder / "a" / "0.png").read_bytes()).digest()


def test_a_sample_of_an_array_is_digested_as_it_is_stored():
    images = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)  # channels first
    source = from_arrays(images, [0, 1], source="data")
    sample = source.read(1)
    assert np.array_equal(sample.image, images[1].transpose(1, 2, 0))
    expected = hashlib.sha256(images[1].transpose(1, 2, 0).tobytes()).digest()
    assert sample.digest == expected


def test_combined_digest_is_of_digests_and_labels_in_order():
    digests = np.arange(64, dtype=np.uint8).reshape(2, 32)
    labels = np.array([7, 300])
    expected = hashlib.sha256(
        digests[0].tobytes()
        + (7).to_bytes(8, "little")
        + digests[1].tobytes()
        + (300).to_bytes(8, "little")
    )
    assert combine_digests(digests, labels) == expected.hexdigest()
    assert combine_digests(digests[::-1], labels) != expected.hexdigest()
    with pytest.raises(ValueError, match=r"\(1, 32\)"):
        combine_digests(digests, labels[:1])


def test_a_source_without_samples_is_refused():
    with pytest.raises(DataError, match="no samples"):
        from_arrays(np.zeros((0, 2, 2), np.uint8), np.zeros(0, int), source="data")


def test_fingerprint_changes_with_samples_labels_and_names(class_folders):
    folder = class_folders({"a": 2, "b": 1})
    before = open_data(folder).fingerprint()
    assert open_data(folder).fingerprint() == before
    (folder / "a" / "1.png").write_bytes((folder / "b" / "0.png").read_bytes() + b" ")
    changed = open_data(folder).fingerprint()
    (folder / "a" / "1.png").rename(folder / "a" / "2.png")
    assert len({before, changed, open_data(folder).fingerprint()}) == 3


def test_fingerprint_of_arrays_is_of_their_values():
    images = np.zeros((2, 3, 3), np.uint8)
    before = from_arrays(images, [0, 1], source="data").fingerprint()
    assert from_arrays(images.copy(), [0, 1], source="data").fingerprint() == before
    assert from_arrays(images, [1, 1], source="data").fingerprint() != before
    assert from_arrays(images + 1, [0, 1], source="data").fingerprint() != before
    assert from_arrays(images.astype("f4"), [0, 1], source="data").fingerprint() != before


def test_an_unreadable_sample_is_named_with_the_way_out(class_folders):
    folder = class_folders({"a": 2})
    (folder / "a" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a/1\.png in .* cannot be read .*skip_bad=True") as caught:
        open_data(folder).read(1)
    assert "or pass --skip-bad to leave" in caught.value.for_command_line()


def test_a_file_that_went_away_is_named(class_folders):
    folder = class_folders({"a": 2})
    source = open_data(folder)
    (folder / "a" / "1.png").unlink()
    with pytest.raises(DataError, match=r"a/1\.png"):
        source.read(1)
    assert source.fingerprint() != open_data(folder).fingerprint()


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


def test_names_longer_than_a_path_are_refused():
    images, labels = np.zeros((2, 4, 4), np.uint8), np.arange(2)
    named = from_arrays(images, labels, source="here", class_names=["a" * LONGEST_NAME, "b"])
    with pytest.raises(DataError, match="here has a name of 4,097 characters: 'bbbbb"):
        replace(named, class_names=("a", "b" * (LONGEST_NAME + 1)))
    with pytest.raises(DataError, match="The class list has a name of 4,097 characters"):
        replace(named, class_names=("b" * (LONGEST_NAME + 1),), indexing="classes")
    with pytest.raises(DataError, match="sample has a name of 4,097 characters: 'ccccc"):
        CompactNames(["a", "c" * (LONGEST_NAME + 1)])


def test_labels_beyond_the_names_of_classes_are_refused():
    images = np.zeros((3, 4, 4), np.uint8)
    with pytest.raises(
        DataError, match="Sample 1 of here has label 2, but the data name 2 classes"
    ):
        from_arrays(images, [0, 2, 1], source="here", class_names=["a", "b"])
