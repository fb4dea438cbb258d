import pytest

from analyzer.data import PRESETS, PreprocessOptions
from analyzer.data.options import declare
from analyzer.errors import DataError


def test_nothing_declared():
    declaration = declare(PreprocessOptions(layout="auto"))
    assert declaration.origin is None
    assert declaration.scale == 1 / 255
    assert declaration.mean is None


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_where_they_come_from(name):
    assert declare(PreprocessOptions(preset=name)).origin == f"preset {name}"


def test_options_go_over_a_preset():
    options = PreprocessOptions(preset="imagenet", crop_pct=0.95, std=(1.0, 1.0, 1.0))
    declaration = declare(options)
    assert declaration.origin == "preset imagenet and options"
    assert declaration.crop_pct == 0.95
    assert declaration.mean == PRESETS["imagenet"].mean
    assert declaration.std == (1.0, 1.0, 1.0)


def test_an_image_size_of_ones_own_does_not_yield():
    declaration = declare(PreprocessOptions(preset="imagenet", img_size=288))
    assert declaration.size == (288, 288)
    assert not declaration.size_yields


def test_other_channel_order_turns_a_presets_mean_but_not_ones_own():
    turned = declare(PreprocessOptions(preset="imagenet", channels="bgr"))
    assert turned.mean == PRESETS["imagenet"].mean[::-1]
    assert turned.std == PRESETS["imagenet"].std[::-1]
    own = declare(PreprocessOptions(preset="imagenet", channels="bgr", mean=(1.0, 2.0, 3.0)))
    assert own.mean == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"preset": "imagnet"}, "no preprocessing preset or file 'imagnet'; presets: imagenet,"),
        ({"img_size": 0}, "--img-size"),
        ({"img_size": (8,)}, "--img-size"),
        ({"crop_pct": 0.0}, "--crop-pct"),
        ({"crop_pct": 87.5}, "--crop-pct"),
        ({"interpolation": "best"}, "--interpolation 'best' is none of nearest"),
        ({"channels": "rbg"}, "--channels"),
        ({"std": (1.0, 0.0, 1.0)}, "--std 1,0,1 has values"),
        ({"scale": -1.0}, "--scale"),
        ({"scale": float("inf")}, "--scale"),
        ({"mean": (0.5, float("nan"), 0.5)}, "--mean"),
    ],
)
def test_options_out_of_range(options, says):
    with pytest.raises(DataError, match=says):
        declare(PreprocessOptions(**options))
