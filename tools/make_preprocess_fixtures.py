"""Write tests/fixtures/data/preprocessing.npz: images as other libraries preprocess them.

Needs torch, torchvision, timm and transformers, each as released; the tests need none of them.
Run from the repository's root: ``python tools/make_preprocess_fixtures.py``.

The file holds the images ``wide`` and ``tall`` (uint8, H × W × 3), the ``versions``, and for each
case NAME what declares the preprocessing: ``NAME/config``, a file's text as the library wrote it,
or ``NAME/options``, options as JSON where the library has no file. For both images there is the
network input ``NAME/wide`` and ``NAME/tall``: float32 (C, H, W), every ``NAME/step``-th row and
column of it.

Cases called ``timm-model-…`` are of the files that timm writes for its own networks, ``hf-old-…``
of files in the form that transformers wrote before there were image processors.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import PIL
import timm
import torch
import torchvision
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config, resolve_model_data_config
from timm.models._hub import save_config_for_hf
from transformers import AutoImageProcessor

TARGET = Path("tests/fixtures/data/preprocessing.npz")
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

TIMM = {
    "timm-resnet": {"input_size": [3, 224, 224], "crop_pct": 0.875, "interpolation": "bilinear"},
    "timm-bicubic": {"input_size": [3, 160, 160], "crop_pct": 0.95, "interpolation": "bicubic"},
    "timm-defaults": {"input_size": [3, 96, 96]},
    "timm-squash": {"input_size": [3, 128, 128], "crop_pct": 0.9, "crop_mode": "squash"},
    "timm-border": {"input_size": [3, 128, 128], "crop_pct": 0.9, "crop_mode": "border"},
    "timm-oblong": {"input_size": [3, 96, 160], "crop_pct": 0.9, "interpolation": "bilinear"},
    "timm-whole": {"input_size": [3, 75, 75], "crop_pct": 1.0, "interpolation": "lanczos"},
}

HUGGING_FACE = {
    "hf-vit": {"image_processor_type": "ViTImageProcessor"},
    "hf-vit-bicubic": {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 96, "width": 160},
        "resample": 3,
    },
    "hf-clip": {"image_processor_type": "CLIPImageProcessor"},
    "hf-bit-odd": {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 80},
        "crop_size": {"height": 75, "width": 73},
    },
    "hf-deit": {"image_processor_type": "DeiTImageProcessor"},
    "hf-convnext": {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 224},
    },
    "hf-convnext-384": {"image_processor_type": "ConvNextImageProcessor"},
    "hf-efficientnet": {"image_processor_type": "EfficientNetImageProcessor"},
    "hf-efficientnet-offset": {
        "image_processor_type": "EfficientNetImageProcessor",
        "rescale_factor": 1 / 127.5,
        "rescale_offset": True,
        "do_normalize": False,
        "include_top": False,
    },
    "hf-mobilevit": {"image_processor_type": "MobileViTImageProcessor"},
    "hf-mobilenet-v2": {"image_processor_type": "MobileNetV2ImageProcessor"},
    "hf-levit": {"image_processor_type": "LevitImageProcessor"},
    "hf-poolformer": {"image_processor_type": "PoolFormerImageProcessor"},
}

OLD = {
    "hf-old-vit": {
        "feature_extractor_type": "ViTFeatureExtractor", "do_normalize": True, "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": 224,
    },
    "hf-old-resnet": {
        "feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875,
        "do_normalize": True, "do_resize": True, "image_mean": IMAGENET["mean"],
        "image_std": IMAGENET["std"], "resample": 3, "size": 224,
    },
    "hf-old-deit": {
        "feature_extractor_type": "DeiTFeatureExtractor", "crop_size": 224, "do_center_crop": True,
        "do_normalize": True, "do_resize": True, "image_mean": IMAGENET["mean"],
        "image_std": IMAGENET["std"], "resample": 3, "size": 256,
    },
    "hf-old-poolformer": {
        "feature_extractor_type": "PoolFormerFeatureExtractor", "crop_pct": 0.9,
        "do_normalize": True, "do_resize": True, "image_mean": IMAGENET["mean"],
        "image_std": IMAGENET["std"], "resample": 3, "size": 224,
    },
}  # fmt: skip

TIMM_MODELS = (
    "resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224", "convnext_atto",
    "tf_efficientnet_lite0", "inception_v3",
)  # fmt: skip

TORCHVISION = (
    "ResNet18_Weights.IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V2",
    "EfficientNet_B0_Weights.IMAGENET1K_V1", "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1",
    "Swin_T_Weights.IMAGENET1K_V1",
)  # fmt: skip


def make_image(height: int, width: int, seed: int) -> np.ndarray:
    """A picture of waves, edges and some noise: uint8 (height, width, 3)."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (3 + 4 * c)) + np.cos(y / (5 + 3 * c)) for c in range(3)]
    picture = np.stack(waves, -1) * 55 + 128
    picture[height // 3 : height // 2, width // 4 : width // 2] = (250, 20, 90)
    picture += generator.normal(0, 2, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def timm_output(config: dict, image: Image.Image) -> tuple[str, np.ndarray]:
    transform = create_transform(**resolve_data_config(pretrained_cfg=config))
    text = json.dumps({"architecture": "x", "pretrained_cfg": config})
    return text, transform(image).numpy()


def timm_model_output(name: str, image: Image.Image) -> tuple[str, np.ndarray]:
    model = timm.create_model(name, pretrained=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        save_config_for_hf(model, str(file))
        text = file.read_text()
    return text, create_transform(**resolve_model_data_config(model))(image).numpy()


def hugging_face_output(config: dict, image: Image.Image) -> tuple[str, np.ndarray]:
    """By the Pillow backend; the torchvision one must agree to within a gray level and a bit."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "preprocessor_config.json")
        file.write_text(json.dumps(config))
        pillow = AutoImageProcessor.from_pretrained(folder, backend="pil")
        tensors = AutoImageProcessor.from_pretrained(folder, backend="torchvision")
        if "image_processor_type" in config:
            tensors.save_pretrained(folder)
        text = file.read_text()
    outputs = [
        np.asarray(processor(image, return_tensors="np")["pixel_values"][0], np.float32)
        for processor in (pillow, tensors)
    ]
    spread = 1 / 255 / np.min(config.get("image_std", pillow.to_dict().get("image_std") or 1))
    worst = np.abs(outputs[0] - outputs[1]).max() / spread
    print(f"  backends differ by {worst:.2f} gray levels")
    return text, outputs[0]


def torchvision_output(name: str, image: Image.Image) -> tuple[str, np.ndarray]:
    weights, version = name.split(".")
    preset = getattr(getattr(torchvision.models, weights), version).transforms()
    options = {
        "resize": preset.resize_size[0],
        "img_size": preset.crop_size * 2,
        "interpolation": preset.interpolation.value,
        "mean": preset.mean,
        "std": preset.std,
    }
    return json.dumps(options), preset(image).numpy()


def main() -> None:
    torch.set_num_threads(1)
    images = {"wide": make_image(83, 122, 1), "tall": make_image(131, 90, 2)}
    content: dict[str, np.ndarray] = {**images}
    modules = (PIL, timm, torch, torchvision, transformers)
    content["versions"] = np.array([f"{m.__name__} {m.__version__}" for m in modules])
    for output, declared, cases in (
        (timm_output, "config", {name: {**IMAGENET, **case} for name, case in TIMM.items()}),
        (timm_model_output, "config", {f"timm-model-{name}": name for name in TIMM_MODELS}),
        (hugging_face_output, "config", HUGGING_FACE | OLD),
        (torchvision_output, "options", {f"torchvision-{name}": name for name in TORCHVISION}),
    ):
        for name, case in cases.items():
            for which, pixels in images.items():
                declaration, values = output(case, Image.fromarray(pixels))
                step = max(1, values.shape[1] // 7)
                content[f"{name}/{which}"] = values[:, ::step, ::step]
            content[f"{name}/{declared}"] = np.array(declaration)
            content[f"{name}/step"] = np.array(step)
            print(name, values.shape)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **content)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
