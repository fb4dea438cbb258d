import json
import math
from dataclasses import replace

import numpy as np
import pytest

from analyzer.data import (
    PreprocessOptions,
    from_arrays,
    open_data,
    preprocessing_of_record,
    preprocessing_of_test_data,
    recorded_preprocessing,
    resolve_preprocessing,
)
from analyzer.errors import DataError


@pytest.fixture
def resolve(network_input):
    """resolve(images, *shape, dtype=…, **options)."""

    def make(images, *shape, dtype="float32", **options):
        source = from_arrays(images, np.zeros(len(images), int), source="data")
        info = network_input(*shape, dtype=dtype)
        return resolve_preprocessing(source, info, PreprocessOptions(**options))

    return make


def uint8(*shape):
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "channels", "layout", "fed"),
    [
        (("N", 3, 20, 24), "rgb", "nchw", (3, 20, 24)),
        (("N", 20, 24, 3), "rgb", "nhwc", (20, 24, 3)),
        ((8, 1, 20, 24), "gray", "nchw", (1, 20, 24)),
        ((1, 20, 24, 1), "gray", "nhwc", (20, 24, 1)),
        (("N", 3, "H", "W"), "rgb", "nchw", (3, 10, 12)),
        ((None, None, None, 3), "rgb", "nhwc", (10, 12, 3)),
        (("N", 20, 24), "gray", "nhw", (20, 24)),
        (("N", 120), "gray", "flat", (120,)),
    ],
)
def test_layout_channels_and_size_come_from_the_network(shape, channels, layout, fed, resolve):
    result = resolve(uint8(2, 10, 12, 3), *shape)
    assert (result.channels, result.layout, result.shape) == (channels, layout, fed)


def test_an_open_layout_is_taken_as_nchw_with_a_warning(resolve):
    result = resolve(uint8(2, 10, 12, 3), "N", "C", "H", "W")
    assert result.shape == (3, 10, 12)
    assert any("layout was taken as nchw" in warning for warning in result.warnings)
    said = resolve(uint8(2, 10, 12, 3), "N", "a", "b", "c", layout="nhwc")
    assert said.shape == (10, 12, 3)
    assert not any("layout" in warning for warning in said.warnings)


def test_open_channels_follow_the_images(resolve):
    assert resolve(uint8(2, 10, 12), "N", "C", 10, 12).channels == "gray"
    assert resolve(uint8(2, 10, 12), "N", "C", 10, 12, channels="rgb").channels == "rgb"


def test_nothing_declared_is_warned_of(resolve):
    result = resolve(uint8(2, 10, 12, 3), "N", 3, 8, 8)
    assert "No preprocessing was declared" in result.warnings[0]
    assert "images are resized to 8×8 where they differ" in result.warnings[0]
    assert "1/255" in result.warnings[0]
    assert result.to_dict()["origin"] == "not declared"
    assert resolve(uint8(2, 10, 12, 3), "N", 3, 8, 8, preset="none").warnings == ()
    for resize, said in (
        ("none", "cut to 8×8"),
        ((9, 12), "resized to 9×12 and cut to 8×8"),
        (9, "resized to a shorter edge of 9 and cut to 8×8"),
    ):
        result = resolve(uint8(2, 10, 12, 3), "N", 3, 8, 8, resize=resize)
        assert f"images are {said} where they differ" in result.warnings[0]


def test_a_presets_size_yields_to_the_networks(resolve):
    assert resolve(uint8(2, 10, 12, 3), "N", 3, 299, 299, preset="imagenet").size == (299, 299)
    assert resolve(uint8(2, 10, 12, 3), "N", 3, "H", "W", preset="imagenet").size == (224, 224)


def test_a_size_that_the_network_refuses(resolve):
    with pytest.raises(DataError, match=r"64×64 .* but .*'x' takes \(N, 3, 32, 32\).*img_size=32"):
        resolve(uint8(2, 10, 12, 3), "N", 3, 32, 32, img_size=64)


def test_a_files_size_that_the_network_refuses_and_the_way_out(resolve, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"input_size": [3, 64, 64], "crop_pct": 0.5}))
    with pytest.raises(DataError, match=r"come out at 64×64 \(by .*config\.json\)"):
        resolve(uint8(2, 10, 12, 3), "N", 3, 32, 32, preset=file)
    result = resolve(uint8(2, 10, 12, 3), "N", 3, 32, 32, preset=file, img_size=32)
    assert result.resize.size == (64, 64)


def test_a_hugging_face_file_gives_way_to_an_image_size(resolve, tmp_path):
    file = tmp_path / "preprocessor_config.json"
    content = {"do_resize": True, "size": {"height": 64, "width": 64}, "resample": 3}
    file.write_text(json.dumps(content))
    assert resolve(uint8(2, 10, 12, 3), "N", 3, "H", "W", preset=file).size == (64, 64)
    result = resolve(uint8(2, 10, 12, 3), "N", 3, 32, 32, preset=file, img_size=32)
    assert result.size == (32, 32)
    assert result.interpolation == "bicubic"
    cropped = resolve(uint8(2, 10, 12, 3), "N", 3, "H", "W", preset=file, crop_pct=0.5)
    assert (cropped.resize.size, cropped.size) == ((128, 128), (64, 64))


def test_one_fixed_edge_is_checked(resolve):
    assert resolve(uint8(2, 10, 12, 3), "N", 3, 10, "W").size == (10, 12)
    with pytest.raises(DataError, match="10×12"):
        resolve(uint8(2, 10, 12, 3), "N", 3, 11, "W")


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        (("N", 12, 8, 8), {}, "12 channels; images have 1 or 3"),
        (("N", 3, 8, 8), {"layout": "nhwc"}, "8 channels; .* Pass layout=nchw, or store"),
        (("N", 3, 8, 12), {"layout": "nhwc"}, "12 channels; .* Pass layout=nchw, or store"),
        (("N", 12, 8, 8), {"layout": "nchw"}, "12 channels; .* 3[.] Store what it takes"),
        (("N", 1, 8, 8), {"channels": "rgb"}, "channels=rgb declares .* Pass channels=gray[.]"),
        (("N", 3, 8, 8), {"channels": "gray"}, "Pass channels=rgb or channels=bgr[.]"),
        (("N", 3, 8, 8), {"std": math.inf}, "std=inf has values that are not finite numbers above"),
        (("N", 3, 8, 8), {"layout": "chw"}, "layout='chw' is not one of nchw"),
        (("N", 3, 8, 8, 8), {}, "no image"),
        (("N", 100), {}, "120 pixels but .* takes 100"),
        (("N", 3, 8, 8), {"preset": "mnist"}, "preset mnist declares gray"),
        (("N", 1, 8, 8), {"preset": "imagenet"}, "by preset imagenet.*Pass mean with 1 value"),
        (("N", 3, 8, 8), {"mean": (1.0, 2.0)}, "mean has 2 values"),
    ],
)
def test_declarations_that_do_not_fit(shape, options, says, resolve):
    with pytest.raises(DataError, match=says):
        resolve(uint8(2, 10, 12), *shape, **options)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integer_inputs_get_pixels_as_they_are(dtype, resolve):
    result = resolve(uint8(2, 8, 8, 3), "N", 3, 8, 8, dtype=dtype)
    assert (result.scale, result.mean, result.dtype) == (1.0, None, dtype)
    with pytest.raises(DataError, match="Drop mean, std and scale"):
        resolve(uint8(2, 8, 8, 3), "N", 3, 8, 8, dtype=dtype, mean=(0.5,))
    preset = resolve(uint8(2, 8, 8, 3), "N", 3, 8, 8, dtype=dtype, preset="imagenet")
    assert preset.mean is None
    assert "the mean and std of preset imagenet are not used" in preset.warnings[0]


@pytest.mark.parametrize("dtype", ["int8", "bool", "complex64"])
def test_inputs_that_cannot_hold_pixels(dtype, resolve):
    with pytest.raises(DataError, match="cannot hold pixels"):
        resolve(uint8(2, 8, 8, 3), "N", 3, 8, 8, dtype=dtype)


@pytest.mark.parametrize(
    ("stored", "wanted", "fed"),
    [
        ((3, 8, 9), (3, 8, 9), (3, 8, 9)),
        ((3, 8, 9), (3, "H", None), (3, 8, 9)),
        ((8, 9), (1, 8, 9), (1, 8, 9)),
        ((8, 9), (8, 9, 1), (8, 9, 1)),
        ((8, 9), (72,), (72,)),
        ((72,), (72,), (72,)),
        ((4, 5, 6, 7), (4, 5, 6, 7), (4, 5, 6, 7)),
    ],
)
def test_float_arrays_are_fed_as_they_are(stored, wanted, fed, resolve):
    result = resolve(np.zeros((2, *stored)), "N", *wanted)
    assert (result.as_stored, result.shape, result.dtype) == (True, fed, "float32")
    assert result.to_dict() == {"origin": "as stored", "shape": list(fed), "dtype": "float32"}
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("stored", "wanted"), [((3, 8, 9), (8, 9, 3)), ((8, 9), (3, 8, 9)), ((8, 9), (71,))]
)
def test_float_arrays_of_another_shape(stored, wanted, resolve):
    with pytest.raises(DataError, match="fed as they are, so store them in that shape"):
        resolve(np.zeros((2, *stored)), "N", *wanted)


def test_float_arrays_take_no_options_and_fit_no_integers(resolve):
    with pytest.raises(DataError, match="Drop the preprocessing options"):
        resolve(np.zeros((2, 3, 8, 8)), "N", 3, 8, 8, preset="imagenet")
    with pytest.raises(DataError, match=r"is uint8\. Store 8-bit images as uint8"):
        resolve(np.zeros((2, 3, 8, 8)), "N", 3, 8, 8, dtype="uint8")


def test_the_first_image_that_can_be_read_gives_the_size(class_folders, network_input):
    folder = class_folders({"a": 2})
    (folder / "a" / "0.png").write_bytes(b"broken")
    info = network_input("N", 3, "H", "W")
    assert resolve_preprocessing(open_data(folder), info).size == (8, 8)
    (folder / "a" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"None of the first 2 .* a/1\.png .* remove them\.$"):
        resolve_preprocessing(open_data(folder), info)


def test_the_resolved_form_is_json(resolve):
    result = resolve(uint8(2, 10, 12, 3), "N", 3, 8, 8, preset="imagenet", interpolation="bicubic")
    echoed = json.loads(json.dumps(result.to_dict()))
    assert echoed == result.to_dict()
    assert echoed["origin"] == "preset imagenet and options"
    assert echoed["resize"] == {"how": "shortest", "size": [9, 9]}
    assert echoed["mean"] == [0.485, 0.456, 0.406]
    assert echoed["exif"] is False


@pytest.mark.parametrize(
    ("stored", "shape", "options"),
    [
        (uint8(2, 10, 12, 3), ("N", 3, 8, 8), {"preset": "imagenet"}),
        (uint8(2, 10, 12, 3), ("N", 3, "H", "W"), {"preset": "imagenet-caffe"}),
        (uint8(2, 10, 12), ("N", 3, "H", "W"), {"std": (2.0,), "exif": True}),
        (uint8(2, 10, 12), ("N", 120), {}),
        (uint8(2, 10, 12), (1, 9, 7), {"crop_pct": 0.7, "interpolation": "box"}),
        (np.zeros((2, 3, 5), np.float32), ("N", 1, 3, 5), {}),
    ],
)
def test_what_a_record_tells_is_the_preprocessing_again(
    stored, shape, options, resolve, network_input
):
    found = resolve(stored, *shape, **options)
    source = from_arrays(stored, np.zeros(len(stored), int), source="data")
    said = json.loads(json.dumps(found.to_dict()))
    again = recorded_preprocessing(said, source, network_input(*shape), "audit.json")
    assert again.to_dict() == found.to_dict()
    assert (again.size, again.shape, again.as_stored) == (found.size, found.shape, found.as_stored)


@pytest.mark.parametrize(
    ("trained", "test", "said"),
    [
        (uint8(2, 6, 6, 3), uint8(2, 9, 6, 3), r"test come out at 9×6, .* \(3, 6, 6\) of data"),
        (uint8(2, 6, 6, 3), np.zeros((2, 3, 6, 6), np.float32), "test holds float arrays.*, and d"),
        (np.zeros((2, 3, 6, 6), np.float32), uint8(2, 6, 6, 3), "data holds float arrays.*, and t"),
    ],
)
def test_test_data_are_preprocessed_as_the_training_data_or_refused(
    trained, test, said, resolve, network_input
):
    shape = ("N", 3, "H", "W")
    found = resolve(trained, *shape)
    info = network_input(*shape)
    again, other = (from_arrays(a, np.zeros(2, int), source="test") for a in (trained, test))
    same = preprocessing_of_test_data(again, info, found, "data")
    assert same == replace(found, warnings=())
    recorded = preprocessing_of_record(json.loads(json.dumps(found.to_dict())), "audit.json")
    same = preprocessing_of_test_data(again, info, recorded, "data")
    assert same.to_dict() == found.to_dict()
    with pytest.raises(DataError, match=said):
        preprocessing_of_test_data(other, info, found, "data")


def test_open_channels_of_test_data_are_those_of_the_training_data(resolve, network_input):
    found = resolve(uint8(2, 6, 6), "N", "C", 6, 6)
    color = from_arrays(uint8(2, 6, 6, 3), [0, 1], source="test")
    info = network_input("N", "C", 6, 6)
    same = preprocessing_of_test_data(color, info, found, "data")
    assert same.channels == found.channels == "gray"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"channels": "cmyk"}, "channels"),
        ({"interpolation": "guess"}, "interpolation"),
        ({"layout": "flat"}, "channels"),
        ({"dtype": "int8"}, "dtype"),
        ({"shape": [3, 9, 9]}, "shape"),
        ({"std": [0.0]}, "std"),
        ({"mean": [1.0, 2.0]}, "mean"),
        ({"mean": "x"}, "mean"),
        ({"crop": {"size": [0, 8], "rounding": "down", "fill": [0]}}, ""),
        ({"crop": {"size": [8, 8], "rounding": "down", "fill": [300]}}, "crop.fill"),
        ({"crop": {"size": [8, 8], "rounding": "up"}}, "crop.rounding"),
        ({"scale": 0.0, "origin": "not declared"}, "scale"),
        ({"scale": -1.0}, "scale"),
        ({"crop": {"size": [8, 8], "place": "left"}}, "crop.place"),
        ({"resize": {"how": "exact", "size": [1 << 40, 8]}}, ""),
        ({"resize": {"how": "longest", "size": [8, 8]}}, "resize.how"),
    ],
)
def test_a_record_of_no_preprocessing_is_refused(changed, field, resolve, network_input):
    stored = uint8(2, 10, 12, 3)
    source = from_arrays(stored, np.zeros(2, int), source="data")
    said = {**resolve(stored, "N", 3, 8, 8, preset="imagenet").to_dict(), **changed}
    where = f"data.preprocessing.{field}" if field else "data.preprocessing"
    with pytest.raises(DataError, match=rf"^audit\.json: the field '{where}"):
        recorded_preprocessing(said, source, network_input("N", 3, 8, 8), "audit.json")


def test_a_record_of_arrays_that_were_fed_as_stored_is_of_no_images(resolve, network_input):
    floats = np.zeros((2, 1, 3, 5), np.float32)
    said = resolve(floats, "N", 1, 3, 5).to_dict()
    images = from_arrays(uint8(2, 3, 5), np.zeros(2, int), source="data")
    with pytest.raises(DataError, match=r"data holds images, and audit\.json says otherwise"):
        recorded_preprocessing(said, images, network_input("N", 1, 3, 5), "audit.json")
