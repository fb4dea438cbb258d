from pathlib import Path

import numpy as np
import pytest

from analyzer.data import INTERPOLATIONS, PRESETS, PreprocessOptions, preprocess_options
from analyzer.data.preprocessing.preprocess_options import make_spec
from analyzer.errors import DataError
from analyzer.option_mechanism import options_of, parse_factor


def test_nothing_declared():
    spec = make_spec(PreprocessOptions(layout="auto"))
    assert spec.origin is None
    assert spec.scale == 1 / 255
    assert spec.mean is None


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_where_they_come_from(name):
    assert make_spec(PreprocessOptions(preset=name)).origin == f"preset {name}"


def test_options_go_over_a_preset():
    options = PreprocessOptions(preset="imagenet", crop_pct=0.95, std=(1.0, 1.0, 1.0))
    spec = make_spec(options)
    assert spec.origin == "preset imagenet and options"
    assert spec.crop_pct == 0.95
    assert spec.mean == PRESETS["imagenet"].mean
    assert spec.std == (1.0, 1.0, 1.0)


def test_an_image_size_of_ones_own_does_not_yield():
    spec = make_spec(PreprocessOptions(preset="imagenet", img_size=288))
    assert spec.size == (288, 288)
    assert not spec.size_yields


def test_other_channel_order_turns_a_presets_mean_but_not_ones_own():
    turned = make_spec(PreprocessOptions(preset="imagenet", channels="bgr"))
    assert turned.mean == PRESETS["imagenet"].mean[::-1]
    assert turned.std == PRESETS["imagenet"].std[::-1]
    own = make_spec(PreprocessOptions(preset="imagenet", channels="bgr", mean=(1.0, 2.0, 3.0)))
    assert own.mean == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"preset": "imagnet"},
            "no preprocessing preset or file 'imagnet'. The presets are imagenet,",
        ),
        ({"img_size": 0}, "^img_size="),
        ({"img_size": (8,)}, "^img_size="),
        ({"img_size": "8"}, "^img_size=8 is not a height and width"),
        ({"img_size": (8, 2.5)}, "^img_size="),
        ({"crop_pct": "most"}, "^crop_pct='most' is not a number"),
        ({"layout": "hwc"}, "^layout='hwc' is not one of nchw"),
        ({"mean": "half"}, "^mean='half'"),
        ({"crop_pct": 0.0}, "^crop_pct="),
        ({"crop_pct": 87.5}, "^crop_pct="),
        ({"interpolation": "best"}, "interpolation='best' is not one of nearest"),
        ({"channels": "rbg"}, "^channels='rbg'"),
        ({"std": (1.0, 0.0, 1.0)}, "std=1,0,1 has values"),
        ({"scale": -1.0}, "^scale="),
        ({"scale": float("inf")}, "^scale="),
        ({"mean": (0.5, float("nan"), 0.5)}, "^mean="),
    ],
)
def test_options_out_of_range(options, says):
    with pytest.raises(DataError, match=says):
        make_spec(PreprocessOptions(**options))


def test_an_option_out_of_range_is_its_flag_on_the_command_line():
    with pytest.raises(DataError) as caught:
        make_spec(PreprocessOptions(crop_pct=87.5))
    assert caught.value.for_command_line().startswith("--crop-pct 87.5 is not above 0")


def test_numbers_of_numpy_and_one_number_for_all_channels():
    options = PreprocessOptions(img_size=np.int64(8), mean=np.array([1, 2, 3]), std=0.5)
    spec = make_spec(options)
    assert (spec.size, spec.mean, spec.std) == ((8, 8), (1.0, 2.0, 3.0), (0.5,))


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (None, PreprocessOptions()),
        ("imagenet", PreprocessOptions(preset="imagenet")),
        (Path("config.json"), PreprocessOptions(preset=Path("config.json"))),
        ({}, PreprocessOptions()),
        ({"preset": "cifar", "exif": True}, PreprocessOptions(preset="cifar", exif=True)),
        (PreprocessOptions(mean=(0.5,)), PreprocessOptions(mean=(0.5,))),
    ],
)
def test_what_a_caller_may_give(value, meant):
    assert preprocess_options(value) == meant


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (224, "preprocess is of type int"),
        (["imagenet"], "preprocess is of type list"),
        ({"crop": 0.9}, "no preprocessing option 'crop'. The options are preset, img_size,"),
        ({0: 1}, "no preprocessing option 0"),
    ],
)
def test_anything_else_is_refused(value, says):
    with pytest.raises(DataError, match=says):
        preprocess_options(value)


def test_every_option_is_declared_with_its_choices():
    declared = options_of(PreprocessOptions)
    assert list(declared) == list(PreprocessOptions.__dataclass_fields__)
    assert all(option.help.endswith(".") for option in declared.values())
    assert declared["interpolation"].choices == INTERPOLATIONS
    assert all(name in declared["preset"].help for name in PRESETS)


def test_a_factor_is_a_number_or_a_fraction():
    for text, factor in (("1/255", 1 / 255), ("2/255", 2 / 255), ("0.5", 0.5), ("1", 1.0)):
        assert parse_factor(text) == factor
    for text in ("1/0", "0/255", "-1/255", "1/x", "1/2/3", "inf", "nan", ""):
        with pytest.raises(ValueError, match="write a number, or 1/255"):
            parse_factor(text)


def test_texts_are_read_as_on_the_command_line():
    given = {"resize": "10", "img_size": "8x9", "mean": "0.5,0.25,1", "scale": "1/255"}
    assert preprocess_options(given) == PreprocessOptions(
        resize=10, img_size=(8, 9), mean=(0.5, 0.25, 1.0), scale=1 / 255
    )
    for name, wrong in (("resize", "x"), ("scale", "0"), ("std", "a,b"), ("img_size", "-3")):
        with pytest.raises(DataError, match=f"^{name}: '{wrong}' is not a"):
            preprocess_options({name: wrong})
