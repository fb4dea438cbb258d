import gzip
import struct

import numpy as np
import pytest

from analyzer.data import open_data
from analyzer.errors import DataError

IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([1, 0, 9, 3], np.uint8)


def idx(array):
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def write(folder, prefix, images, labels, *, packed=False, dot=False):
    folder.mkdir(exist_ok=True)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        file = folder / f"{prefix}-{name.replace('-idx', '.idx') if dot else name}-ubyte"
        if packed:
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(idx(array)))
        else:
            file.write_bytes(idx(array))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", [False, True])
def test_splits(packed, dot, tmp_path):
    write(tmp_path, "train", IMAGES, LABELS, packed=packed, dot=dot)
    write(tmp_path, "t10k", IMAGES[:1], LABELS[:1], packed=packed, dot=dot)
    train = open_data(tmp_path)
    assert (train.kind, train.source) == ("idx", f"{tmp_path}#train")
    assert np.array_equal(train.array, IMAGES)
    assert train.labels.tolist() == [1, 0, 9, 3]
    assert len(open_data(f"{tmp_path}#test")) == 1


def test_packed_and_plain_twins_are_one_set(tmp_path):
    write(tmp_path, "train", IMAGES, LABELS)
    write(tmp_path, "train", IMAGES, LABELS, packed=True)
    assert len(open_data(tmp_path)) == 4


def test_a_set_with_a_prefix(tmp_path):
    write(tmp_path, "emnist-letters-train", IMAGES, LABELS)
    assert len(open_data(tmp_path)) == 4
    write(tmp_path, "emnist-digits-train", IMAGES, LABELS)
    with pytest.raises(DataError, match="2 sets of train images"):
        open_data(tmp_path)


def test_a_missing_split_is_said(tmp_path):
    write(tmp_path, "train", IMAGES, LABELS)
    with pytest.raises(DataError, match=r"no test images\. .* t10k-images-idx3-ubyte"):
        open_data(f"{tmp_path}#test")
    with pytest.raises(DataError, match="splits train and test"):
        open_data(f"{tmp_path}#val")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-1], "promises 24 values but holds 23"),
        (lambda data: data + b"x", "promises 24 values but holds more"),
        (lambda data: data[:10], "not an IDX file"),
        (lambda data: b"", "not an IDX file"),
        (lambda data: data[:2] + b"\x0d" + data[3:], "not an IDX file of unsigned bytes"),
    ],
)
def test_damaged_files(change, says, tmp_path):
    write(tmp_path, "train", IMAGES, LABELS)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(change(idx(IMAGES)))
    with pytest.raises(DataError, match=says):
        open_data(tmp_path)


def test_damaged_gzip(tmp_path):
    write(tmp_path, "train", IMAGES, LABELS, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"idx3-ubyte\.gz cannot be read"):
        open_data(tmp_path)


def test_lengths_that_differ(tmp_path):
    write(tmp_path, "train", IMAGES, LABELS[:3])
    with pytest.raises(DataError, match="4 images but 3 labels"):
        open_data(tmp_path)
