import gzip
import os
import pickle
import shutil
import struct

import numpy as np
import pytest

from analyzer.data import open_data
from analyzer.errors import DataError

IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([1, 0, 9, 3], np.uint8)
RNG = np.random.default_rng(0)
BATCHES = [f"data_batch_{number}" for number in range(1, 6)]


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


def test_hidden_files_are_not_looked_at(tmp_path):
    write(tmp_path, "train", IMAGES, LABELS)
    for name in ("._train-images-idx3-ubyte", ".train-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes(b"x")
    source = open_data(tmp_path)
    assert (len(source), source.warnings) == (4, ())


def test_labels_of_another_set_are_refused(tmp_path):
    write(tmp_path, "emnist-letters-train", IMAGES, LABELS)
    (tmp_path / "emnist-letters-train-labels-idx1-ubyte").rename(
        tmp_path / "emnist-digits-train-labels-idx1-ubyte"
    )
    with pytest.raises(DataError, match=r"letters-train-images.* and .*digits-train-labels.*sets"):
        open_data(tmp_path)


def test_files_of_other_dimensions_are_told_as_what_they_are(tmp_path):
    write(tmp_path, "train", IMAGES[..., None], LABELS)
    (tmp_path / "train-images-idx3-ubyte").rename(tmp_path / "train-images-idx4-ubyte")
    with pytest.raises(DataError, match=r"idx4-ubyte is not an IDX file of .* in 3 dimensions"):
        open_data(tmp_path)


def test_a_split_that_is_there_alone_is_named(tmp_path):
    write(tmp_path, "t10k", IMAGES, LABELS)
    with pytest.raises(DataError, match=f"no train images, .* 'test': give {tmp_path}#test for"):
        open_data(tmp_path)
    assert len(open_data(f"{tmp_path}#test")) == 4


def test_packed_and_plain_twins_are_one_set(tmp_path):
    write(tmp_path, "train", IMAGES, LABELS)
    write(tmp_path, "train", IMAGES, LABELS, packed=True)
    assert len(open_data(tmp_path)) == 4
    write(tmp_path, "train", IMAGES, LABELS[::-1].copy(), packed=True)
    with pytest.raises(DataError, match=r"labels-idx1-ubyte\.gz hold different values\. Remove"):
        open_data(tmp_path)


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


def pixels(count):
    return RNG.integers(0, 256, (count, 3072), np.uint8)


@pytest.fixture(params=[0, 2, 4, 5])
def protocol(request):
    return request.param


def dump(content, path, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))


def cifar10_python(folder, protocol=2):
    folder.mkdir(parents=True)
    data = {}
    for number, name in enumerate([*BATCHES, "test_batch"]):
        data[name] = pixels(3)
        names = [f"{name}_{i}.png".encode() for i in range(3)]
        content = {b"data": data[name], b"labels": [number, 0, 9], b"filenames": names}
        dump({b"batch_label": b"x", **content}, folder / name, protocol)
    meta = {b"label_names": [f"class {i}".encode() for i in range(10)], b"num_vis": 3072}
    dump(meta, folder / "batches.meta", protocol)
    return data


def test_cifar10_python(tmp_path, protocol):
    data = cifar10_python(tmp_path / "cifar", protocol)
    train = open_data(tmp_path / "cifar")
    assert (train.kind, train.source) == ("cifar10", f"{tmp_path}/cifar#train")
    assert train.labels.tolist() == [0, 0, 9, 1, 0, 9, 2, 0, 9, 3, 0, 9, 4, 0, 9]
    expected = data["data_batch_2"][1].reshape(3, 32, 32).transpose(1, 2, 0)
    assert np.array_equal(train.read(4).image, expected)
    assert train.class_names[9] == "class 9"
    assert train.names[4] == "data_batch_2_1.png"
    assert open_data(f"{tmp_path}/cifar#test").labels.tolist() == [5, 0, 9]


def test_cifar10_binary_holds_the_same(tmp_path):
    data = cifar10_python(tmp_path / "python")
    folder = tmp_path / "binary"
    folder.mkdir()
    for number, name in enumerate([*BATCHES, "test_batch"]):
        labels = np.array([[number], [0], [9]], np.uint8)
        (folder / f"{name}.bin").write_bytes(np.hstack([labels, data[name]]).tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class {i}" for i in range(10)) + "\n\n")
    for split in ("train", "test"):
        python = open_data(f"{tmp_path}/python#{split}")
        binary = open_data(f"{folder}#{split}")
        assert np.array_equal(binary.array, python.array)
        assert np.array_equal(binary.labels, python.labels)
        assert binary.class_names == python.class_names


@pytest.mark.parametrize("binary", ["cifar", "cifar/cifar-10-batches-bin"])
def test_two_versions_in_one_folder_are_refused(binary, tmp_path):
    python, folder = tmp_path / "cifar", tmp_path / binary
    cifar10_python(python)
    folder.mkdir(exist_ok=True)
    for name in (*BATCHES, "test_batch"):
        (folder / f"{name}.bin").write_bytes(bytes(3073))
    (folder / "batches.meta.txt").write_text("a\nb")
    with pytest.raises(DataError, match=r"data_batch_1\.bin and of .*data_batch_1, and both can"):
        open_data(python)
    (python / "batches.meta").unlink()
    for name in (*BATCHES, "test_batch"):
        (python / name).unlink()
    assert open_data(python).class_names == ("a", "b")


def test_a_missing_file_of_class_names_is_said(tmp_path):
    for name in (*BATCHES, "test_batch"):
        (tmp_path / f"{name}.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match=r"batches\.meta\.txt is missing"):
        open_data(tmp_path)


def test_cifar100_has_fine_labels(tmp_path):
    data = pixels(4)
    python, binary = tmp_path / "cifar-100-python", tmp_path / "cifar-100-binary"
    for folder in (python, binary):
        folder.mkdir()
    names = [f"fine {i}" for i in range(100)]
    for split in ("train", "test"):
        content = {"data": data, "fine_labels": [99, 1, 2, 3], "coarse_labels": [0, 0, 1, 1]}
        dump(content, python / split)
        labels = np.array([[0, 99], [0, 1], [1, 2], [1, 3]], np.uint8)
        (binary / f"{split}.bin").write_bytes(np.hstack([labels, data]).tobytes())
    dump({"fine_label_names": names, "coarse_label_names": ["a", "b"]}, python / "meta")
    (binary / "fine_label_names.txt").write_text("\n".join(names))
    for folder in (python, binary):
        source = open_data(folder)
        assert source.kind == "cifar100"
        assert source.labels.tolist() == [99, 1, 2, 3]
        assert source.class_names == tuple(names)
        assert np.array_equal(source.array[2].transpose(2, 0, 1).ravel(), data[2])
    shutil.rmtree(binary)
    assert open_data(tmp_path).source == f"{python}#train"  # the archive unpacked here


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def test_a_malicious_pickle_does_not_run(tmp_path, protocol):
    folder = tmp_path / "cifar"
    cifar10_python(folder)
    mark = tmp_path / "was_here"
    dump({b"data": Bomb(mark), b"labels": []}, folder / "data_batch_3", protocol)
    with pytest.raises(DataError, match=r"data_batch_3 is a pickle that asks for posix\.system"):
        open_data(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I99\ntS'b'\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.",
        b"P1\n.",
        b"\x80\x04",
        b"",
        b"(lp0\n.",
    ],
)
def test_other_pickles_are_refused(data, tmp_path):
    folder = tmp_path / "cifar"
    cifar10_python(folder)
    (folder / "data_batch_1").write_bytes(data)
    with pytest.raises(DataError, match="data_batch_1"):
        open_data(folder)


@pytest.mark.parametrize(
    "change",
    [
        {b"data": [1, 2]},
        {b"data": np.zeros((3, 3072))},
        {b"data": np.zeros((3, 12), np.uint8)},
        {b"labels": [1, 2]},
        {b"labels": [1, 2, "a"]},
        {b"labels": [1, 2, True]},
        {b"labels": None},
        {b"filenames": [b"a"] * 2},
    ],
)
def test_other_content_is_refused(change, tmp_path):
    folder = tmp_path / "cifar"
    cifar10_python(folder)
    content = {b"data": pixels(3), b"labels": [1, 2, 3], b"filenames": [b"a"] * 3}
    dump({**content, **change}, folder / "data_batch_4")
    with pytest.raises(
        DataError,
        match=r"data_batch_4 (does not hold CIFAR's|is a pickle that|holds 3 images, and 2 file)",
    ):
        open_data(folder)


def test_batches_that_are_none_of_cifars_are_told(tmp_path):
    cifar10_python(tmp_path / "cifar")
    assert open_data(tmp_path / "cifar").warnings == ()
    dump({}, tmp_path / "cifar" / "data_batch_6")
    (told,) = open_data(tmp_path / "cifar").warnings
    assert told.endswith("cifar: data_batch_6.")


@pytest.mark.parametrize("data", [b"(" * 1_100_000, b"(" + b"]" * 1_100_000 + b"l"])
def test_pickles_of_very_many_operations_are_refused(data, tmp_path):
    cifar10_python(tmp_path / "cifar")
    (tmp_path / "cifar" / "data_batch_1").write_bytes(data + b".")
    with pytest.raises(DataError, match=r"data_batch_1 is a pickle of more than 1,000,000 operat"):
        open_data(tmp_path / "cifar")


KEYS = [(i * (2**61 - 1)) for i in range(5)]  # all have the hash 0


@pytest.mark.parametrize(
    "content",
    [
        {b"data": dict.fromkeys(KEYS)},
        {3: b"labels"},
        {b"data": {(1, 2): 3}},
        {b"data": {1, 2}},
        {b"data": frozenset({1, 2})},
        {b"labels": [2**80]},
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_has_hashes_that_can_be_foreseen_is_refused(content, protocol, tmp_path):
    cifar10_python(tmp_path / "cifar")
    dump(content, tmp_path / "cifar" / "data_batch_1", protocol)
    with pytest.raises(DataError, match=r"data_batch_1 is a (pickle that|damaged pickle)"):
        open_data(tmp_path / "cifar")


def test_entries_of_one_name_as_text_and_as_bytes_are_refused(tmp_path):
    cifar10_python(tmp_path / "cifar")
    dump(
        {b"data": pixels(3), b"labels": [1] * 3, "labels": [2] * 3}, tmp_path / "cifar/data_batch_1"
    )
    with pytest.raises(DataError, match="data_batch_1 has two entries of one name"):
        open_data(tmp_path / "cifar")


def test_a_key_that_takes_long_to_hash_is_refused(tmp_path):
    cifar10_python(tmp_path / "cifar")
    content = b"\x80\x02}N" + b"2\x86" * 45 + b"Ns."  # a pair of itself, of itself, …
    (tmp_path / "cifar" / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1 is a pickle that makes more than arrays"):
        open_data(tmp_path / "cifar")


def test_places_in_the_memo_that_collide_are_refused(tmp_path):
    cifar10_python(tmp_path / "cifar")
    content = b"(" + b"".join(b"Np%d\n" % (i * (2**61 - 1)) for i in range(20)) + b"d."
    (tmp_path / "cifar" / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1 is a pickle that makes more than arrays"):
        open_data(tmp_path / "cifar")


def test_missing_and_truncated_files(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("a\nb")
    for name in BATCHES[:4]:
        (folder / f"{name}.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match=r"data_batch_5\.bin is missing"):
        open_data(folder)
    (folder / "data_batch_5.bin").write_bytes(bytes(3072))
    with pytest.raises(DataError, match="3072 bytes, which is no whole number of 3073"):
        open_data(folder)
    with pytest.raises(DataError, match="splits train and test"):
        open_data(f"{folder}#val")
