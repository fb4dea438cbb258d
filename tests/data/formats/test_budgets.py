"""Data that ask for more than they are: refused in one sentence, before memory is taken."""

import gzip
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.common_types import TensorInfo
from analyzer.data import open_data, read_classes, read_value
from analyzer.data.preprocessing.preprocess_options import PreprocessOptions
from analyzer.data.preprocessing.resolve import resolve_preprocessing
from analyzer.data.preprocessing.spec import Resize
from analyzer.errors import DataError
from analyzer.input_budgets import Budgets

TIGHT = Budgets(bytes=100_000, samples=50)
ZEROS = bytes(3_000_000)  # they compress to 3,000


def hole(path, size=1 << 40):
    with path.open("wb") as file:
        file.truncate(size)
    if path.stat().st_blocks * 512 > 1 << 20:
        pytest.skip("this file system has no holes")
    return path


def test_a_compressed_npz_within_its_budget_is_read(tmp_path):
    arrays = {"images": np.zeros((1000, 60, 50), np.uint8), "labels": np.zeros(1000, int)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=r"a\.npz decompress to 3,.* budget=bytes=3\d+\."):
        open_data(tmp_path / "a.npz", budgets=TIGHT)
    assert len(open_data(tmp_path / "a.npz")) == 1000
    np.savez(tmp_path / "b.npz", **arrays)  # as large as it says
    with pytest.raises(DataError, match=r"holds 1,000 samples, .* budget=samples=1000\."):
        open_data(tmp_path / "b.npz", budgets=TIGHT)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 8, 8), }",
        "{'descr': '<U2000000000', 'fortran_order': False, 'shape': (4, 8, 8), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 8, 8), }",
        "(" * 900,
    ],
)
def test_npz_headers_that_lie(header, tmp_path):
    text = header.encode().ljust(1000) + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(256)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
        archive.writestr("labels.npy", content)
    with pytest.raises(DataError, match=r"'images' of .* cannot be read"):
        open_data(tmp_path / "a.npz")


def test_gzip_bombs(tmp_path):
    def write(images):
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        labels = struct.pack(">II", 0x801, 4) + bytes(4)
        (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))

    write(struct.pack(">IIII", 0x803, 3000, 10, 100) + ZEROS)
    with pytest.raises(DataError, match=r"promises 3,000,000 values, more than the budget"):
        open_data(tmp_path, budgets=TIGHT)
    write(struct.pack(">IIII", 0x803, 4, 8, 8) + ZEROS)  # more behind what it promises
    with pytest.raises(DataError, match="promises 256 values but holds more"):
        open_data(tmp_path, budgets=TIGHT)
    write(struct.pack(">IIII", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(DataError, match="more than the budget"):
        open_data(tmp_path)


def test_holes_are_not_read(tmp_path):
    images = hole(tmp_path / "0.png")
    (tmp_path / "m.csv").write_text("path,label\n0.png,0\n")
    with pytest.raises(DataError, match=r"it is 1,099,511,627,776 bytes large, more than"):
        open_data(tmp_path / "m.csv").read(0)
    with pytest.raises(DataError, match=r"The class list .* more than the budget"):
        read_classes(images.rename(tmp_path / "classes.txt"))
    with pytest.raises(DataError, match=r"line of 1,048,576 characters"):
        open_data(hole(tmp_path / "n.csv"))
    with pytest.raises(DataError, match="more than the budget"):
        read_value(str(hole(tmp_path / "a.npy")))


def test_counts_of_samples(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\n" + "a.png,0\n" * 51)
    with pytest.raises(DataError, match=r"more than 50 rows, .*samples=51"):
        open_data(tmp_path / "m.csv", budgets=TIGHT)
    with tarfile.open(tmp_path / "m.tar", "w") as archive:
        for number in range(51):
            archive.addfile(tarfile.TarInfo(f"{number}.png"))
    with pytest.raises(DataError, match=r"more than 50 samples, .*samples=51"):
        open_data(tmp_path / "m.tar", budgets=TIGHT)
    (tmp_path / "f" / "0").mkdir(parents=True)
    for number in range(51):
        (tmp_path / "f" / "0" / f"{number}.png").touch()
    with pytest.raises(DataError, match=r"more than 50 files, .*samples=51"):
        open_data(tmp_path / "f", budgets=TIGHT)


def test_parquet_of_few_bytes(tmp_path):
    table = pa.table({"image": pa.array([b"x"] * 51, pa.binary()), "label": pa.array([0] * 51)})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"has 51 rows, .*samples=51"):
        open_data(tmp_path / "a.parquet", budgets=TIGHT)
    one = pa.table({"image": pa.array([ZEROS], pa.binary()), "label": pa.array([0])})
    pq.write_table(one, tmp_path / "b.parquet", compression="zstd")
    with pytest.raises(DataError, match=r"Row group 0 .* to 3,.* budget=bytes=12\d+\."):
        open_data(tmp_path / "b.parquet", budgets=TIGHT)


def test_an_image_that_many_rows_share_takes_its_memory_once(tmp_path):
    rows = pa.array([bytes(range(256)) * 4000] * 200, pa.binary())
    pq.write_table(pa.table({"image": rows, "label": [0] * 200}), tmp_path / "a.parquet")
    source = open_data(tmp_path / "a.parquet")
    assert source.stored(199) == rows[0].as_py()
    assert source.store._kept_bytes < 3_000_000


@pytest.mark.parametrize("size", [2**80, 2**40, -512, -1024, -(2**80)])
def test_sizes_in_a_tar_archive(size, tmp_path):
    info = tarfile.TarInfo("0.png")
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    number = size % (1 << 88)
    header[124:136] = bytes([0xFF if size < 0 else 0x80]) + number.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) * 2 + bytes(1024))
    with pytest.raises(DataError, match=r"a\.tar is not a readable plain tar archive"):
        open_data(tmp_path / "a.tar")


@pytest.mark.parametrize("label", [2**63, 2**70, -(2**70)])
def test_labels_beyond_int64(label, tmp_path):
    (tmp_path / "m.csv").write_text(f"path,label\na.png,{label}\n")
    with pytest.raises(DataError, match=f"has the label {label}, which is no index of a class"):
        open_data(tmp_path / "m.csv")
    if label == 2**63:
        images = np.zeros((1, 8, 8), np.uint8)
        for labels in (np.array([label], np.uint64), np.array([float(label)])):
            with pytest.raises(DataError, match="no index of a class"):
                open_data((images, labels))


def test_class_lists_that_break_readers(tmp_path):
    def refused(name, content):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=f"The class list .*{name}"):
            read_classes(tmp_path / name)

    refused("a.csv", f'"{"x" * 200_000}",1\n')
    refused("a.csv", f"{'9' * 5000},a\n")
    refused("a.json", "[" * 100_000)
    refused("a.json", "[1, null, {}]")
    refused("a.json", f'{{"{"9" * 5000}": "a"}}')


def pickled(tmp_path, **batch):
    """A CIFAR folder whose first batch holds these."""
    right = {
        b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1], b"filenames": [b"a", b"b"]
    }  # fmt: skip
    for number in range(1, 6):
        (tmp_path / f"data_batch_{number}").write_bytes(pickle.dumps(right, protocol=2))
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"x", b"y"]}))
    wrong = right | {name.encode(): value for name, value in batch.items()}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(wrong, protocol=2))
    return tmp_path


def test_lists_that_pickles_share(tmp_path):
    shared = ["lol"]
    for _ in range(60):
        shared = [shared] * 10
    with pytest.raises(DataError, match="does not hold CIFAR's images and labels"):
        open_data(pickled(tmp_path, labels=[shared] * 2))
    source = open_data(pickled(tmp_path, filenames=[shared] * 2))  # names that are none
    assert len(source) == 10


def test_pickles_that_take_memory(tmp_path):
    folder = pickled(tmp_path)
    content = (folder / "data_batch_1").read_bytes()

    def opened(wrong):
        (folder / "data_batch_1").write_bytes(content[:2] + b"K\x00" + wrong + b"00" + content[2:])
        return open_data(folder)

    assert len(opened(b"r\xff\xff\xff\x7fN")) == 10  # the 2,147,483,647th entry of the memo
    for wrong in (
        b"cnumpy\nndarray\n((J\xff\xff\xff\x7fM\x00\x0ctU\x02u1tR",  # 6 TB of memory as it is
        b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    ):
        with pytest.raises(DataError, match="data_batch_1 is a"):
            opened(wrong)


def test_a_resize_is_held_against_the_pixels(tmp_path):
    source = open_data((np.zeros((2, 8, 8), np.uint8), [0, 1]))
    wanted = TensorInfo("x", "float32", ("N", 1, 8, 8))
    options = PreprocessOptions(preset="none", crop_pct=0.0001)
    with pytest.raises(DataError, match=r"resized to 80000×80000 .* budget=pixels=6400000000\."):
        resolve_preprocessing(source, wanted, options)
    assert resolve_preprocessing(source, wanted, PreprocessOptions(crop_pct=0.5)).resize == Resize(
        "shortest", (16, 16)
    )
    for crop_pct in (1e-300, 5e-324):
        with pytest.raises(DataError, match="more than the budget"):
            resolve_preprocessing(source, wanted, PreprocessOptions(crop_pct=crop_pct))


def test_a_long_thin_image_is_not_resized_to_an_endless_one(tmp_path):
    images = np.zeros((1, 1, 4_000_000), np.uint8)
    source = open_data((images, [0]))
    wanted = TensorInfo("x", "float32", ("N", 1, 224, 224))
    preprocessing = resolve_preprocessing(source, wanted, PreprocessOptions(crop_pct=0.875))
    with pytest.raises(DataError, match=r"is 1×4000000 and would be resized to 256×1024000000"):
        preprocessing.picture(images[0])


def test_what_a_network_takes_is_held_against_the_bytes():
    source = open_data((np.zeros((2, 8, 8), np.uint8), [0, 1]))
    wanted = TensorInfo("x", "float32", ("N", 3, 9000, 9000))
    with pytest.raises(DataError, match=r"Samples of \(3, 9000, 9000\) .* 24 at a time"):
        resolve_preprocessing(source, wanted, PreprocessOptions(preset="none"))


def test_images_without_pixels():
    with pytest.raises(DataError, match="so they are empty"):
        open_data((np.zeros((2, 0, 8), np.uint8), [0, 1]))
