"""Against what timm, transformers and torchvision make of the same images."""

import json
from pathlib import Path

import numpy as np
import pytest

from analyzer.common_types import TensorInfo
from analyzer.data import PreprocessOptions, from_arrays, read_batches, resolve_preprocessing
from analyzer.data.preprocessing.spec import Crop, Resize, from_hugging_face, from_timm
from analyzer.errors import DataError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "data" / "preprocessing.npz"
VIT = {"do_resize": True, "size": {"height": 8, "width": 8}, "resample": 2, "do_rescale": True}


def fixture_cases():
    with np.load(FIXTURES) as content:
        names = {key.split("/")[0] for key in content.files if "/" in key}
    return sorted(names)


@pytest.mark.parametrize("which", ["wide", "tall"])
@pytest.mark.parametrize("case", fixture_cases())
def test_values_are_the_originals_within_a_gray_level(case, which, tmp_path):
    with np.load(FIXTURES) as content:
        image, expected = content[which], content[f"{case}/{which}"]
        step = int(content[f"{case}/step"])
        if f"{case}/options" in content:
            options = PreprocessOptions(**json.loads(str(content[f"{case}/options"])))
        else:
            options = PreprocessOptions(preset=tmp_path / "config.json")
            (tmp_path / "config.json").write_text(str(content[f"{case}/config"]))
    source = from_arrays(image[None], [0], source="image")
    preprocessing = resolve_preprocessing(
        source,
        TensorInfo("x", "float32", ("N", 3, "H", "W")),
        options,
    )
    (batch,) = read_batches(source, preprocessing, [0], 1)
    gray_level = preprocessing.scale / np.reshape(preprocessing.std or (1.0,), (-1, 1, 1))
    difference = np.abs(batch.images[0, :, ::step, ::step] - expected) / gray_level
    assert expected.shape == batch.images[0, :, ::step, ::step].shape
    assert difference.max() <= 1.001
    assert (
        difference.mean() < 0.2
    )  # nothing is shifted, only roundings differ, most before Pillow 13


def test_timm_flat_and_nested_mean_the_same():
    config = {"input_size": [3, 8, 8], "crop_pct": 0.9, "mean": [0, 0, 0], "std": [1, 1, 1]}
    assert from_timm(config) == from_timm({"architecture": "resnet", "pretrained_cfg": config})


def test_older_files_with_one_number_as_size():
    old = {"do_resize": True, "size": 8, "resample": 2, "do_normalize": False}
    vit = from_hugging_face({**old, "feature_extractor_type": "ViTFeatureExtractor"})
    clip = from_hugging_face({**old, "feature_extractor_type": "CLIPFeatureExtractor"})
    assert vit.resize == Resize("exact", (8, 8))
    assert clip.resize == Resize("shortest", (8, 8))
    assert vit.scale == 1 / 255


def test_without_rescaling_pixels_stay_as_they_are():
    spec = from_hugging_face({**VIT, "do_rescale": False, "rescale_factor": 0.5})
    assert spec.scale == 1.0


def test_center_crop_of_an_older_file_with_one_number():
    spec = from_hugging_face({**VIT, "do_center_crop": True, "crop_size": 6})
    assert spec.crop == Crop((6, 6), rounding="down")


def test_processors_that_crop_do_so_unless_the_file_says_no():
    """PoolFormer's and DeiT's first files do not say that they crop, nor to what size."""
    for kind in ("PoolFormer", "DeiT"):
        said = {**VIT, "feature_extractor_type": f"{kind}FeatureExtractor"}
        assert from_hugging_face(said).crop == Crop((224, 224), rounding="down")
        assert from_hugging_face({**said, "crop_size": 6}).crop == Crop((6, 6), rounding="down")
        assert from_hugging_face({**said, "do_center_crop": False}).crop is None
    assert from_hugging_face(VIT).crop is None


def test_padding_to_a_size_at_the_right_and_below(tmp_path):
    """transformers pads after normalizing, with 0."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
    mean, std = np.float32([0.48, 0.45, 0.41]), np.float32([0.5, 0.25, 0.5])
    by_hand = np.zeros((3, 8, 9), np.float32)
    by_hand[:, :6, :4] = ((pixels.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)
    file = tmp_path / "preprocessor_config.json"
    content = {"do_resize": False, "do_pad": True, "pad_size": {"height": 8, "width": 9}}
    content |= {"image_mean": mean.tolist(), "image_std": std.tolist()}
    file.write_text(json.dumps(content))

    def fed(image):
        source = from_arrays(image[None], [0], source="image")
        info = TensorInfo("x", "float32", ("N", 3, "H", "W"))
        preprocessing = resolve_preprocessing(source, info, PreprocessOptions(preset=file))
        return next(read_batches(source, preprocessing, [0], 1)).images[0]

    difference = abs(fed(pixels) - by_hand)
    assert difference[:, :6, :4].max() < 1e-6
    assert difference.max() <= 0.5 / 255 / std.min() + 1e-6  # a border of whole pixel values
    with pytest.raises(DataError, match="is 12×4, which gives 12×4 and not 8×9"):
        fed(np.repeat(pixels, 2, axis=0))


def test_what_files_say_besides_the_steps_is_no_step():
    """As transformers 4 and its torchvision processors write, and timm."""
    besides = {"do_convert_rgb": True, "do_reduce_labels": False, "do_magic": False, "magic": None}
    besides |= {"do_center_crop": None, "processor_class": "CLIPProcessor", "return_tensors": None}
    besides |= {"data_format": "channels_first", "default_to_square": True, "device": None}
    besides |= {"_valid_processor_keys": ["images"], "image_processor_type": "ViTImageProcessor"}
    said = {**VIT, "do_normalize": False}
    assert from_hugging_face({**said, **besides}) == from_hugging_face(said)
    config = {"input_size": [3, 8, 8], "mean": [0, 0, 0], "std": [1, 1, 1]}
    besides = {"tag": "in1k", "custom_load": True, "pool_size": [7, 7], "first_conv": "conv1"}
    assert from_timm({**config, **besides, "num_features": 8}) == from_timm(config)


def test_one_number_as_size_is_the_shortest_edge_where_the_file_says_so():
    said = {**VIT, "size": 8, "default_to_square": False}
    assert from_hugging_face(said).resize == Resize("shortest", (8, 8))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"do_pad": True}, "asks for do_pad with pad_size None"),
        ({"do_pad": True, "pad_size": 8}, "asks for do_pad with pad_size 8"),
        (
            {"do_pad": True, "pad_size": {"height": 8, "width": 8}, "do_center_crop": True},
            "asks for do_pad beside a crop",
        ),
        ({"do_magic": True}, "asks for do_magic"),
        ({"do_grayscale": "false"}, "do_grayscale 'false'; a switch is true or false"),
        ({"do_rescale": 0}, "do_rescale 0; a switch is true or false"),
        ({"size_divisor": 32}, "asks for size_divisor"),
        ({"resample": 9}, "resample 9"),
        ({"resample": None}, "resample None"),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "longest_edge"),
        ({"size": {"height": "x", "width": 8}}, "'x'"),
        ({"size": None}, "size None"),
        ({"do_normalize": True, "image_mean": "a", "image_std": [1]}, "image_mean"),
        ({"image_processor_type": "PerceiverImageProcessor"}, "Perceiver"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "shortest_edge"),
    ],
)
def test_hugging_face_refusals(change, says):
    with pytest.raises(DataError, match=says):
        from_hugging_face({**VIT, **change})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"input_size": [3, 8]}, "input_size"),
        ({"input_size": [12, 8, 8]}, "12 channels"),
        ({"input_size": [3, 8, 8], "crop_mode": "odd"}, "crop_mode 'odd'"),
        ({"input_size": [3, 8, 8], "crop_border_pixels": 4}, "crop_border_pixels"),
        ({"input_size": [3, 8, 8], "crop_pct": "a"}, "crop_pct"),
        ({"input_size": [3, 8, 8], "invert": True}, "asks for invert"),
        ({"hidden_size": 768}, "neither timm's"),
    ],
)
def test_timm_refusals(config, says):
    with pytest.raises(DataError, match=says):
        from_timm(config)


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_a_file_that_is_no_json_object_is_named(text, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(text)
    source = from_arrays(np.zeros((1, 4, 4), np.uint8), [0], source="image")
    with pytest.raises(DataError, match=r"config\.json"):
        resolve_preprocessing(
            source, TensorInfo("x", "float32", (1, 1, 4, 4)), PreprocessOptions(preset=file)
        )


def test_a_folder_of_a_model_is_searched(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 768}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    source = from_arrays(np.zeros((1, 4, 4, 3), np.uint8), [0], source="image")
    preprocessing = resolve_preprocessing(
        source, TensorInfo("x", "float32", (1, 3, 8, 8)), PreprocessOptions(preset=tmp_path)
    )
    assert preprocessing.origin.endswith("preprocessor_config.json")
    assert preprocessing.shape == (3, 8, 8)
