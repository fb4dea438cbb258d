import io
import zipfile

import numpy as np
import pytest

from analyzer.data import from_arrays, open_data, read_value
from analyzer.errors import DataError
from analyzer.input_budgets import Budgets

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([2, 0, 1])


@pytest.mark.parametrize(
    ("x", "y"), [("images", "labels"), ("images", "label"), ("x", "y"), ("X", "y")]
)
def test_usual_keys(x, y, tmp_path):
    np.savez(tmp_path / "a.npz", **{x: IMAGES, y: LABELS})
    source = open_data(tmp_path / "a.npz")
    assert source.kind == "npz"
    assert source.source == str(tmp_path / "a.npz")
    assert source.labels.tolist() == [2, 0, 1]
    assert np.array_equal(source.array, IMAGES)
    assert list(source.names) == ["0", "1", "2"]
    assert source.class_names is None


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_splits_in_one_file(keys, tmp_path):
    content = dict(zip(keys, (IMAGES, LABELS, IMAGES[:1], LABELS[:1, None]), strict=True))
    np.savez_compressed(tmp_path / "a.npz", **content)
    assert len(open_data(tmp_path / "a.npz")) == 3
    assert open_data(tmp_path / "a.npz").source.endswith("a.npz#train")
    assert len(open_data(f"{tmp_path}/a.npz#test")) == 1
    with pytest.raises(DataError, match=r"holds 'x_train'|holds 'train_images'"):
        open_data(f"{tmp_path}/a.npz#val")
    tests = {key: array for key, array in content.items() if "test" in key}
    np.savez(tmp_path / "b.npz", **tests)
    with pytest.raises(DataError, match=r"its split 'test', give .*b\.npz#test\."):
        open_data(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("present", "says"),
    [
        ("images labels x y", "the arrays 'images' and 'x'"),
        ("images labels x_train y_train", "the arrays 'images' and 'x_train'"),
        ("images labels x", "the arrays 'images' and 'x'"),
        ("images labels y", "the arrays 'labels' and 'y'"),
        ("images labels label", "the arrays 'labels' and 'label'"),
        ("images x y", "the arrays 'images' and 'x'"),
        ("x X y", "the arrays 'x' and 'X'"),
        ("x_train y_train y", "the arrays 'y' and 'y_train'"),
    ],
)
def test_two_usual_names_of_one_thing_want_keys(present, says, tmp_path):
    file = tmp_path / "data.npz"
    names = present.split()
    is_images = [name[0] in "ixX" for name in names]
    values = [np.zeros((2, 4, 4), np.uint8) if one else [0, 1] for one in is_images]
    np.savez(file, **dict(zip(names, values, strict=True)))
    with pytest.raises(DataError, match=f"{says}, and both can be the .*keys="):
        open_data(file)
    keys = names[is_images.index(True)], names[is_images.index(False)]
    assert open_data(file, keys=keys).labels.tolist() == [0, 1]


def test_a_named_split_has_names_of_its_own(tmp_path):
    file = tmp_path / "data.npz"
    np.savez(file, images=IMAGES, labels=LABELS, x_test=IMAGES[:1], y_test=LABELS[:1])
    assert len(open_data(file)) == 3
    assert len(open_data(f"{file}#test")) == 1


def test_other_keys_by_option(tmp_path):
    np.savez(tmp_path / "a.npz", pixels=IMAGES, target=LABELS)
    assert len(open_data(tmp_path / "a.npz", keys=("pixels", "target"))) == 3
    with pytest.raises(DataError, match="holds 'pixels', 'target', not 'images' and 'labels'"):
        open_data(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"not 'labels'\. Name two of these with keys"):
        open_data(tmp_path / "a.npz", keys=("pixels", "labels"))


def test_many_labels_are_refused_before_they_are_widened(tmp_path, monkeypatch):
    monkeypatch.setattr("analyzer.data.formats.arrays.integer_labels", pytest.fail)
    few = Budgets(samples=10)
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.zeros(900, np.uint8))
    with pytest.raises(DataError, match="holds 3 images but 900 labels"):
        open_data(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", images=np.zeros((11, 1, 1), np.uint8), labels=np.zeros(11, "u1"))
    with pytest.raises(DataError, match="holds 11 samples, more than the budget of 10 samples"):
        open_data(tmp_path / "a.npz", budgets=few)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_pickled_objects_are_never_read(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([Bomb()], object), labels=LABELS[:1])
    with pytest.raises(DataError, match="pickled objects are never read"):
        open_data(tmp_path / "a.npz")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.9])
def test_damaged_files_are_refused(keep, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=IMAGES, labels=LABELS)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    with pytest.raises(DataError, match=r"a\.npz"):
        open_data(path)


def test_a_damaged_member_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=np.zeros((50, 40, 40), np.uint8), labels=np.zeros(50, int))
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.npz"):
        open_data(path)


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(DataError, match="single array"):
        open_data(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 7, 8), (5, 7, 8)),
        ((5, 7, 8, 1), (5, 7, 8)),
        ((5, 1, 7, 8), (5, 7, 8)),
        ((5, 7, 8, 3), (5, 7, 8, 3)),
        ((5, 3, 7, 8), (5, 7, 8, 3)),
        ((5, 7, 8, 4), (5, 7, 8, 4)),
    ],
)
def test_images_come_channels_last(shape, expected):
    source = from_arrays(np.zeros(shape, np.uint8), np.zeros(5, int), source="data")
    assert source.array.shape == expected


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.zeros((3, 2, 7, 8), np.uint8), "wanted"),
        (np.zeros((3, 9), np.uint8), "wanted"),
        (np.zeros(3, np.uint8), "first of at least two axes"),
        (np.full((3, 2, 2), 256), "not all within 0 to 255"),
        (np.full((3, 2, 2), "a"), "<U1"),
        (np.zeros((4, 2, 2), np.uint8), "4 images but 3 labels"),
    ],
)
def test_unfit_images_are_refused(images, says):
    with pytest.raises(DataError, match=says):
        from_arrays(images, LABELS, source="data")


def test_wider_integers_that_fit_are_8_bit_images():
    source = from_arrays(IMAGES.astype(np.int64), LABELS, source="data")
    assert source.array.dtype == np.uint8
    assert "int64" in source.warnings[0]


def test_an_ambiguous_order_of_axes_is_told():
    images = np.zeros((2, 3, 5, 3), np.uint8)
    (warning,) = from_arrays(images, [0, 1], source="data").warnings
    assert "(2, 3, 5, 3) and were taken as (S, H, W, C)" in warning
    assert not from_arrays(np.zeros((2, 3, 5, 5), np.uint8), [0, 1], source="data").warnings


def test_floats_stay_as_they_are():
    images = np.random.default_rng(0).normal(size=(3, 2, 7, 8))
    assert from_arrays(images, LABELS, source="data").array is images


def test_class_list_names_the_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    (tmp_path / "names.txt").write_text("zero\none\ntwo")
    (tmp_path / "few.txt").write_text("zero\none")
    source = open_data(tmp_path / "a.npz", classes=tmp_path / "names.txt")
    assert source.class_names == ("zero", "one", "two")
    with pytest.raises(DataError, match=r"label 2 but the class list .* names only 2"):
        open_data(tmp_path / "a.npz", classes=tmp_path / "few.txt")


def test_a_number_is_a_scalar():
    assert read_value("1e-3") == np.asarray(0.001)
    assert read_value("-2").shape == ()


def test_an_array_file_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read_value(str(tmp_path / "a.npy")), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1e400"])
def test_a_number_is_finite(text):
    with pytest.raises(DataError, match="not a finite number"):
        read_value(text)


def test_an_array_file_may_hold_infinite_values_but_no_nan(tmp_path):
    np.save(tmp_path / "mask.npy", np.array([0.0, -np.inf]))
    assert read_value(str(tmp_path / "mask.npy"))[1] == -np.inf
    np.save(tmp_path / "nan.npy", np.array([0.0, np.nan]))
    with pytest.raises(DataError, match=r"nan\.npy holds values that are not numbers"):
        read_value(str(tmp_path / "nan.npy"))


def test_anything_else_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.npy"):
        read_value("nothing.npy")
    for text in ("٢", "1_0"):
        with pytest.raises(DataError, match="is no number"):
            read_value(text)
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(DataError, match=r"text\.npy"):
        read_value(str(tmp_path / "text.npy"))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"objects\.npy"):
        read_value(str(tmp_path / "objects.npy"))
    np.savez(tmp_path / "several.npz", a=1)
    with pytest.raises(DataError, match=r"not a \.npy file"):
        read_value(str(tmp_path / "several.npz"))


def test_an_array_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((2, 4, 4), np.uint8), labels=[0, 1])
    with zipfile.ZipFile(path, "a") as archive, archive.open("labels", "w") as member:
        np.lib.format.write_array(member, np.array([1, 0]))
    with pytest.raises(DataError, match="holds 'labels' twice"):
        open_data(path)


def test_labels_that_are_texts(tmp_path):
    images = np.zeros((3, 4, 4), np.uint8)
    names = tmp_path / "classes.txt"
    names.write_text("owl\ncat\n")
    for kind in ("U", "S"):
        np.savez(tmp_path / "a.npz", images=images, labels=np.array(["2", "0", "1.0"]).astype(kind))
        assert open_data(tmp_path / "a.npz").labels.tolist() == [2, 0, 1]
        np.savez(tmp_path / "a.npz", images=images, labels=np.array(["owl", "cat", "owl"], kind))
        source = open_data(tmp_path / "a.npz")
        assert (source.labels.tolist(), source.class_names) == ([1, 0, 1], ("cat", "owl"))
        assert source.indexing == "order"
        assert open_data(tmp_path / "a.npz", classes=names).labels.tolist() == [0, 1, 0]
    assert open_data((images, ["owl", "cat", "owl"]), classes=names).labels.tolist() == [0, 1, 0]
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([b"\xff", b"a", b"b"]))
    with pytest.raises(DataError, match="not UTF-8"):
        open_data(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([["a", "b"]] * 3))
    with pytest.raises(DataError, match=r"shape \(3, 2\); one a sample"):
        open_data(tmp_path / "a.npz")


def test_an_array_of_more_than_its_header_tells_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=IMAGES)
    labels = io.BytesIO()
    np.save(labels, LABELS[:2])
    labels.write(LABELS[2:].tobytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.npy", labels.getvalue())
    with pytest.raises(
        DataError, match=r"header tells of 16 bytes, of the shape \(2,\), and 24 follow"
    ):
        open_data(path)


def test_a_header_that_is_longer_than_any_is_not_read(tmp_path):
    long = np.lib.format.MAGIC_PREFIX + bytes((2, 0)) + (1 << 30).to_bytes(4, "little") + b"{"
    path = tmp_path / "a.npz"
    np.savez(path, labels=LABELS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images.npy", long)
    with pytest.raises(DataError, match=r"\(its header has 1,073,741,824 bytes\)"):
        open_data(path)
