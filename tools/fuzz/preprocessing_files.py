"""Hostile preprocessing files of timm and Hugging Face."""

import json

from hypothesis import strategies as st

from tools.fuzz.harness import Case, Target
from tools.fuzz.mutations import changed_json, damaged

__all__ = ["PREPROCESSING_FILES"]

_FILES = (
    {
        "architecture": "resnet18",
        "pretrained_cfg": {
            "input_size": [1, 8, 8],
            "interpolation": "bicubic",
            "crop_pct": 0.95,
            "crop_mode": "center",
            "mean": [0.5],
            "std": [0.25],
        },
    },
    {"input_size": [1, 8, 8], "mean": [0.5], "std": [0.25], "crop_pct": 1.0},
    {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5],
        "image_std": [0.5],
        "resample": 2,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": 8, "width": 8},
    },
    {
        "image_processor_type": "ConvNextImageProcessor",
        "crop_pct": 0.875,
        "do_resize": True,
        "image_mean": [0.5],
        "image_std": [0.5],
        "size": {"shortest_edge": 8},
    },
    {
        "do_resize": False,
        "do_pad": True,
        "pad_size": {"height": 8, "width": 8},
        "image_mean": [0.5],
        "image_std": [0.5],
    },
    {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_center_crop": True,
        "crop_size": {"height": 8, "width": 8},
        "size": 8,
        "image_mean": [0.5],
        "image_std": [0.5],
    },
)


@st.composite
def _preprocessing_files(draw: st.DrawFn) -> Case:
    document = draw(st.sampled_from(_FILES))
    if draw(st.integers(0, 9)):
        content = draw(changed_json(document))
    else:
        content = draw(damaged(json.dumps(document).encode()))
    command = (
        "audit", "zoo:digits-c0", "--limit-per-class", "1", "--interpolation-samples", "0",
        "--neighbor-samples", "0", "--suspects", "0", "--preprocess", "file.json", "--out", "out",
    )  # fmt: skip
    return Case(command, {"file.json": content})


PREPROCESSING_FILES = Target("preprocessing-files", _preprocessing_files())
