"""Against the files that transformers' own image processors write."""

import json
from pathlib import Path

import pytest

from analyzer.data.preprocessing.spec import Crop, Resize, from_hugging_face, read_spec
from analyzer.errors import DataError

FIXTURES = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "data" / "processors.json").read_text()
)
FILES = FIXTURES["files"]
OTHER_STEPS = "whose steps are not known"
# Their files also say what is no image's business here, or 1 where nothing is done.
UNREAD_BESIDES = {"DPT": ["ensure_multiple_of"], "LayoutLMv3": ["apply_ocr", "tesseract_config"]}
# Not made without torch.
UNSAVED = {
    "Tipsv2": {"size": {"height": 448, "width": 448}, "do_normalize": False},
    "Tipsv2Dpt": {"size": {"height": 448, "width": 448}, "do_normalize": False},
}


def read(name, **content):
    return from_hugging_face({**content, "image_processor_type": f"{name}ImageProcessor"})


def is_read(name):
    try:
        read(name)
    except DataError as error:
        return OTHER_STEPS not in str(error)
    return True


READ = [name for name in FIXTURES["names"] if is_read(name)]


def saved(name):
    if name in UNSAVED:
        plain = {"do_resize": True, "resample": 2, "do_rescale": True}
        return {**plain, **UNSAVED[name]}
    left_out = ["image_processor_type", *UNREAD_BESIDES.get(name, ())]
    return {key: value for key, value in FILES[name].items() if key not in left_out}


def test_every_processor_of_transformers_is_read_or_refused_by_name():
    assert len(FIXTURES["names"]) == 135
    assert len(READ) == 31


@pytest.mark.parametrize("name", READ)
def test_what_a_file_leaves_out_is_what_its_class_writes(name):
    content = saved(name)
    whole = read(name, **content)
    assert read(name) == whole
    for key in content:
        rest = {other: value for other, value in content.items() if other != key}
        assert read(name, **rest) == whole, key


@pytest.mark.parametrize("name", sorted(set(FIXTURES["names"]) - set(READ)))
def test_other_steps_are_refused_whatever_the_file_says(name):
    with pytest.raises(DataError, match=OTHER_STEPS):
        read(name, **FILES.get(name, {}))
    with pytest.raises(DataError, match=OTHER_STEPS):
        read(name, do_resize=True, size=8, resample=2, do_rescale=True, do_normalize=False)


@pytest.mark.parametrize("ending", ["ImageProcessor", "ImageProcessorFast", "FeatureExtractor"])
def test_mobilevit_flips_channels_unless_its_file_says_no(ending):
    content = {"image_processor_type": f"MobileViT{ending}"}
    assert from_hugging_face(content).channels == "bgr"
    assert from_hugging_face({**content, "do_flip_channel_order": False}).channels is None


def test_one_number_as_size_is_what_the_class_makes_of_it():
    assert read("Siglip", size=8).resize == Resize("shortest", (8, 8))
    assert read("ViT", size=8).resize == Resize("exact", (8, 8))
    assert read("ViT", size=8, default_to_square=None).resize == Resize("shortest", (8, 8))


def test_efficientnet_divides_by_std_where_it_does_not_normalize():
    spec = read("EfficientNet", do_normalize=False)
    assert (spec.mean, spec.std) == ((0.0,) * 3, (0.5,) * 3)
    assert read("EfficientNet", do_normalize=False, include_top=False).std is None


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("Segformer", "do_center_crop"),
        ("Llava", "do_pad"),
        ("ViT", "do_flip_channel_order"),
        ("CLIP", "rescale_offset"),
    ],
)
def test_a_step_that_the_class_does_not_have_is_refused(name, step):
    with pytest.raises(DataError, match=f"asks for {step}, which is not known of {name}"):
        read(name, **{step: True})


@pytest.mark.parametrize("kind", ["", "ViT", "Foo"])
def test_a_share_that_is_cropped_is_refused_where_no_class_is_known_to_use_it(kind):
    size = {"shortest_edge": 224}
    assert read("ConvNext", size=size, crop_pct=0.5).resize == Resize("shortest", (448, 448))
    switches = {"do_resize": True, "do_rescale": True, "do_normalize": False, "resample": 2}
    content = {"size": {"height": 8, "width": 8}, **switches}
    named = {"image_processor_type": f"{kind}ImageProcessor"} if kind else {}
    assert from_hugging_face({**content, **named, "crop_pct": None}).crop is None
    with pytest.raises(DataError, match="asks for crop_pct, which is not known of"):
        from_hugging_face({**content, **named, "crop_pct": 0.5})


def test_an_unknown_class_is_read_if_its_file_says_each_switch():
    size = {"height": 8, "width": 8}
    values = {"size": size, "resample": 2, "image_mean": [0.5], "image_std": [0.5]}
    switches = {"do_resize": True, "do_rescale": True, "do_normalize": True}
    assert read("Foo", **values, **switches) == from_hugging_face({**values, **switches})
    for switch in switches:
        said = {key: value for key, value in switches.items() if key != switch}
        with pytest.raises(DataError, match=f"is of Foo, .* does not say {switch}[.] Add"):
            read("Foo", **values, **said)
    with pytest.raises(DataError, match="does not say do_center_crop and do_pad"):
        read("Foo", **values, **switches, crop_size=6, pad_size=size)
    cropped = read("Foo", **values, **switches, crop_size=6, do_center_crop=True)
    assert cropped.crop == Crop((6, 6), rounding="down")


def test_a_file_that_names_its_class_alone_is_hugging_faces(tmp_path):
    file = tmp_path / "preprocessor_config.json"
    file.write_text('{"image_processor_type": "ViTImageProcessor"}')
    assert read_spec(file).resize == Resize("exact", (224, 224))
