"""Data that change between two readings: of one data set whole, or refused."""

import contextlib
import io
import os
import shutil
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from analyzer.data import FirstReading, open_data
from analyzer.data.formats import mnist_cifar
from analyzer.errors import DataError


def as_folder(root, images):
    for number, image in enumerate(images):
        (root / f"c{number % 2}").mkdir(parents=True, exist_ok=True)
        (root / f"c{number % 2}" / f"{number}.png").write_bytes(image)
    return root


def as_manifest(root, images):
    as_folder(root, images)
    rows = "".join(f"c{number % 2}/{number}.png,{number % 2}\n" for number in range(len(images)))
    (root / "train.csv").write_text(f"path,label\n{rows}")
    return root / "train.csv"


def as_tar(root, images):
    root.mkdir(exist_ok=True)
    with tarfile.open(root / "train.tar", "w") as archive:
        for number, image in enumerate(images):
            for name, content in (
                (f"{number}.png", image),
                (f"{number}.cls", b"%d" % (number % 2)),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return root / "train.tar"


def as_parquet(root, images):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    root.mkdir(exist_ok=True)
    labels = [number % 2 for number in range(len(images))]
    table = pa.table({"image": [{"bytes": image} for image in images], "label": labels})
    pyarrow.parquet.write_table(table, root / "train.parquet", row_group_size=2)
    return root / "train.parquet"


def as_npz(root, images):
    root.mkdir(exist_ok=True)
    arrays = [np.asarray(Image.open(io.BytesIO(image))) for image in images]
    np.savez(root / "train.npz", images=arrays, labels=np.arange(len(images)) % 2)
    return root / "train.npz"


def as_idx(root, images):
    root.mkdir(exist_ok=True)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("L")) for image in images])
    labels = (np.arange(len(images)) % 2).astype(np.uint8)
    for values, name in ((pixels, "images-idx3"), (labels, "labels-idx1")):
        head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        (root / f"train-{name}-ubyte").write_bytes(head + values.tobytes())
    return root


@pytest.fixture(params=[as_folder, as_manifest, as_tar, as_parquet, as_npz, as_idx])
def read(request, tmp_path, picture, encoded):
    """read(indices): hold samples against their first reading; and ways to change all of them."""
    one, two = ([encoded(picture(8, 8, seed=s)) for s in range(n, n + 6)] for n in (0, 10))
    place = tmp_path / "data"
    source = open_data(request.param(place, one))
    first = FirstReading(source)

    def read(*indices):
        digests = [source.read(index).digest for index in indices]
        first.check(np.array(indices), np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32))

    def write(images):
        """In place of what is there, with its times."""
        before = {path: os.stat(path) for path in place.rglob("*")}
        request.param(place, images)
        for path, state in before.items():
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    read.change, read.restore, read.first = (lambda: write(two)), (lambda: write(one)), first
    read.whole = source.array is not None
    return read


def test_samples_that_are_read_once_before_and_after_a_change_are_no_data_set(read):
    read(0, 1, 2)
    read.change()
    with contextlib.suppress(DataError):  # rows of a Parquet file are not where they were
        read(4, 5)
    with pytest.raises(DataError, match=r"changed since it was (first read|opened)"):
        read.first.confirm()


def test_a_change_and_back_again_is_found(read):
    read(0, 1)
    read.change()
    try:
        read(4, 5)
    except DataError:  # left out, if such samples are
        read.first.skip(np.array([4, 5]))
    read.restore()
    if read.whole:  # what was read before the change is all there is
        return read.first.confirm()
    with pytest.raises(DataError, match="has changed since it was first read"):
        read.first.confirm()


def test_files_that_were_only_touched_are_the_same_data(read):
    read(*range(6))
    read.restore()
    read.first.confirm()


def test_data_that_are_gone_in_the_end_have_changed(read, tmp_path):
    read(0)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(DataError, match="has changed since it was opened"):
        read.first.confirm()


def test_a_sample_that_is_gone_has_changed_if_it_was_read(class_folders):
    folder = class_folders({"a": 2})
    first = FirstReading(open_data(folder))
    assert first.sample(0).image.shape == (8, 8, 3)
    shutil.rmtree(folder / "a")
    with pytest.raises(DataError, match=r"a/0\.png in .* has changed since it was first read"):
        first.sample(0)
    with pytest.raises(DataError, match=r"a/1\.png in .* cannot be read .*skip_bad=True"):
        first.sample(1)


def test_what_an_interrupted_run_read_is_read_again(read):
    digests = np.zeros((2, 32), np.uint8)
    read(0)
    with pytest.raises(DataError, match="an interrupted run of this audit read it"):
        read.first.take_over(np.array([0, 2]), digests)
    read.first.take_over(np.array([2, 3]), digests)
    with pytest.raises(DataError, match="an interrupted run of this audit read it"):
        read.first.confirm()


def test_labels_that_change_while_images_are_read_are_refused(tmp_path, monkeypatch):
    def write(name, shape, content):
        head = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
        (tmp_path / name).write_bytes(head + content)

    write("train-images-idx3-ubyte", (2, 2, 2), bytes(8))
    write("train-labels-idx1-ubyte", (2,), bytes([0, 1]))
    read = mnist_cifar._read_idx

    def read_and_change(path, *args, **options):
        found = read(path, *args, **options)
        write("train-labels-idx1-ubyte", (2,), bytes([1, 0]))
        return found

    assert open_data(tmp_path).labels.tolist() == [0, 1]
    monkeypatch.setattr(mnist_cifar, "_read_idx", read_and_change)
    with pytest.raises(DataError, match="idx1-ubyte was changed while it was read"):
        open_data(tmp_path)
