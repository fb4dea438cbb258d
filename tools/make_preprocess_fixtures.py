"""Write tests/fixtures/data/preprocessing.npz: what timm and transformers make of two images.

Needs torch, torchvision, timm and transformers, each as released; the tests need none of them.
Run from the repository's root: ``python tools/make_preprocess_fixtures.py``.

The file holds the images ``wide`` and ``tall`` (uint8, H × W × 3), the ``versions``, and for each
case NAME the declaration ``NAME/config`` (JSON text) and, for both images, the network input
``NAME/wide`` and ``NAME/tall``: float32 (C, H, W), every ``NAME/step``-th row and column of it.
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
from timm.data import create_transform, resolve_data_config
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


def make_image(height: int, width: int, seed: int) -> np.ndarray:
    """A picture of waves, edges and some noise: uint8 (height, width, 3)."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (3 + 4 * c)) + np.cos(y / (5 + 3 * c)) for c in range(3)]
    picture = np.stack(waves, -1) * 55 + 128
    picture[height // 3 : height // 2, width // 4 : width // 2] = (250, 20, 90)
    picture += generator.normal(0, 2, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def timm_output(config: dict, image: Image.Image) -> tuple[dict, np.ndarray]:
    resolved = resolve_data_config(pretrained_cfg=config)
    return {"architecture": "x", "pretrained_cfg": config}, create_transform(**resolved)(
        image
    ).numpy()


def hugging_face_output(config: dict, image: Image.Image) -> tuple[dict, np.ndarray]:
    """By the Pillow backend; the torchvision one must agree to within a grey level and a bit."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "preprocessor_config.json").write_text(json.dumps(config))
        pillow = AutoImageProcessor.from_pretrained(folder, backend="pil")
        tensors = AutoImageProcessor.from_pretrained(folder, backend="torchvision")
    outputs = [
        np.asarray(processor(image, return_tensors="np")["pixel_values"][0], np.float32)
        for processor in (pillow, tensors)
    ]
    spread = 1 / 255 / np.min(config.get("image_std", pillow.to_dict().get("image_std") or 1))
    worst = np.abs(outputs[0] - outputs[1]).max() / spread
    print(f"  {config['image_processor_type']}: backends differ by {worst:.2f} grey levels")
    return json.loads(tensors.to_json_string()), outputs[0]


def main() -> None:
    torch.set_num_threads(1)
    images = {"wide": make_image(83, 122, 1), "tall": make_image(131, 90, 2)}
    content: dict[str, np.ndarray] = {**images}
    modules = (PIL, timm, torch, torchvision, transformers)
    content["versions"] = np.array([f"{m.__name__} {m.__version__}" for m in modules])
    for cases, output in ((TIMM, timm_output), (HUGGING_FACE, hugging_face_output)):
        for name, config in cases.items():
            if cases is TIMM:
                config = {**IMAGENET, **config}
            for which, pixels in images.items():
                declaration, values = output(config, Image.fromarray(pixels))
                step = max(1, values.shape[1] // 7)
                content[f"{name}/{which}"] = values[:, ::step, ::step]
            content[f"{name}/config"] = np.array(json.dumps(declaration))
            content[f"{name}/step"] = np.array(step)
            print(name, values.shape)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **content)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
