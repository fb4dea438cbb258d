"""Hugging Face's image processors by class: what each does where its file does not say.

As of transformers 5.23, whose files of ``save_pretrained`` say all of it; older and shorter ones
leave to the class what the class does by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.errors import DataError

__all__ = ["with_class_defaults"]

_STANDARD = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_LANCZOS, _BILINEAR, _BICUBIC = 1, 2, 3

_CROP, _PAD, _FLIP, _OFFSET = "do_center_crop", "do_pad", "do_flip_channel_order", "rescale_offset"


@dataclass(frozen=True, slots=True)
class _Processor:
    """A class: its values by the keys of its file, and which of the rarer steps it has at all."""

    defaults: Mapping[str, object]
    steps: tuple[str, ...]


def _processor(
    values: Mapping[str, object],
    resample: int,
    size: int | tuple[int, int],
    crop: int | None = None,
    steps: tuple[str, ...] = (_CROP, _PAD),
    **others: object,
) -> _Processor:
    """A class that resizes, crops if ``crop``, rescales and normalizes.

    Args:
        values: its mean and std.
        resample: code of its Pillow filter.
        size: its shortest edge, or height and width.
        crop: pixels of the square that it cuts out.
        steps: the rarer ones that it has, done by itself or not.
        others: what differs from other classes, by key.
    """
    if isinstance(size, int):
        said = {"shortest_edge": size}
    else:
        said = {"height": size[0], "width": size[1]}
    defaults: dict[str, object] = {
        "do_resize": True,
        "size": said,
        "default_to_square": "height" in said,
        "resample": resample,
        "do_center_crop": crop is not None,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        **values,
        **others,
    }
    if crop is not None:
        defaults["crop_size"] = crop
    return _Processor(defaults, steps)


_BY_CLASS: Mapping[str, _Processor] = {
    "Beit": _processor(_STANDARD, _BICUBIC, (224, 224), steps=(_CROP,), crop_size=224),
    "Bit": _processor(_CLIP, _BICUBIC, 224, 224),
    "Blip": _processor(_CLIP, _BICUBIC, (384, 384)),
    "CLIP": _processor(_CLIP, _BICUBIC, 224, 224),
    "Chameleon": _processor(
        {"image_mean": [1.0, 1.0, 1.0], "image_std": [1.0, 1.0, 1.0]},
        _LANCZOS,
        512,
        512,
        rescale_factor=0.0078,
    ),
    "ChineseCLIP": _processor(_CLIP, _BICUBIC, 224, 224),
    "ConvNext": _processor(_STANDARD, _BICUBIC, 384, steps=(_CROP,), crop_pct=224 / 256),
    "DPT": _processor(_STANDARD, _BICUBIC, (384, 384), steps=()),
    "DeiT": _processor(_STANDARD, _BICUBIC, (256, 256), 224),
    "EfficientNet": _processor(
        _STANDARD, _BICUBIC, (346, 346), steps=(_CROP, _OFFSET), crop_size=289, include_top=True
    ),
    "Flava": _processor(_CLIP, _BICUBIC, (224, 224), 224, steps=(_CROP,)),
    "Gemma3": _processor(_STANDARD, _BILINEAR, (224, 224), steps=()),
    "LayoutLMv3": _processor(_STANDARD, _BILINEAR, (224, 224), steps=()),
    "Levit": _processor(_IMAGENET, _BICUBIC, 224, 224),
    "Llava": _processor(_CLIP, _BICUBIC, 224, 224, steps=(_CROP,)),
    "MobileNetV1": _processor(_STANDARD, _BILINEAR, 256, 224),
    "MobileNetV2": _processor(_STANDARD, _BILINEAR, 256, 224, steps=(_CROP,)),
    "MobileViT": _processor(
        _STANDARD, _BICUBIC, 224, 256, steps=(_CROP, _FLIP), do_flip_channel_order=True
    ),
    "OwlViT": _processor(_CLIP, _BICUBIC, (768, 768), crop_size=768),
    "PPChart2Table": _processor(_CLIP, _BICUBIC, (1024, 1024)),
    "PoolFormer": _processor(_IMAGENET, _BICUBIC, 224, 224, crop_pct=0.9),
    "Pvt": _processor(_IMAGENET, _BICUBIC, (224, 224)),
    "SegGpt": _processor(_IMAGENET, _BICUBIC, (448, 448), steps=()),
    "Segformer": _processor(_IMAGENET, _BILINEAR, (512, 512), steps=()),
    "Siglip": _processor(_STANDARD, _BICUBIC, (224, 224), default_to_square=False),
    "SuperPoint": _processor({}, _BILINEAR, (480, 640), steps=(), default_to_square=False),
    "Tipsv2": _processor({}, _BILINEAR, (448, 448), do_normalize=False),
    "Tipsv2Dpt": _processor({}, _BILINEAR, (448, 448), do_normalize=False),
    "ViT": _processor(_STANDARD, _BILINEAR, (224, 224)),
    "VideoLlava": _processor(_CLIP, _BICUBIC, 224, 224, steps=(_CROP,)),
    "VideoMAE": _processor(_STANDARD, _BILINEAR, 224, 224, steps=(_CROP,)),
}

_OTHERWISE = {
    "Aria", "BridgeTower", "CHMv2", "Cohere2Vision", "CohereCompass", "ConditionalDetr",
    "Cosmos3Edge", "DINOv3ViT", "DeepseekOcr2", "DeepseekVL", "DeepseekVLHybrid",
    "DeformableDetr", "DepthPro", "Detr", "Donut", "EfficientLoFTR", "Emu3", "Eomt",
    "Ernie4_5_VLMoe", "Ernie4_5_VL_Moe", "Fuyu", "GLPN", "Gemma4", "Gemma4Unified", "Glm46V",
    "Glm4v", "Glm5Next", "GlmImage", "Glmga", "GotOcr2", "GraniteDocling", "GroundingDino",
    "HunYuanVL", "Idefics", "Idefics2", "Idefics3", "ImageGPT", "Inkling", "Inkling2", "Janus",
    "Kimi_K25", "Kosmos2_5", "LayoutLMv2", "Lfm2Vl", "LightGlue", "Llama4", "LlavaNext",
    "LlavaOnevision", "Mask2Former", "MaskFormer", "MiniCPMOcr", "MiniCPMV4_6", "MiniMaxM3VL",
    "Mllama", "Molmo2", "MuseGlimmer", "NemotronH_Omni_Reasoning_V3", "NeoMME", "Nougat",
    "OneFormer", "Ovis2", "Owlv2", "PI0", "PPDocLayoutV2", "PPDocLayoutV3", "PPDocLayoutV4",
    "PPFormulaNet", "PPLCNet", "PPOCRV5ServerDet", "PPOCRV5ServerRec", "PPOCRV6SmallRec",
    "PaddleOCRVL", "PerceptionLM", "Perceiver", "Phi4Multimodal", "Pix2Struct", "Pixtral",
    "PromptDepthAnything", "Qwen2VL", "RTDetr", "RfDetr", "SLANeXt", "Sam", "Sam2", "Sam3",
    "Sapiens2", "Siglip2", "SmolVLM", "Step3p7", "SuperGlue", "Swin2SR", "TextNet",
    "TimmWrapper", "Tvp", "UVDoc", "UltraVBert", "UnlimitedOcr", "VideoLlama3", "Vilt",
    "VitMatte", "VitPose", "Vivit", "Yolos", "ZoeDepth",
}  # fmt: skip
"""Classes with steps of another kind or order, whatever their file says."""


def with_class_defaults(kind: str, content: Mapping[str, object]) -> Mapping[str, object]:
    """What a file says, and for what it leaves out what its class does.

    Args:
        kind: the class's name without ``ImageProcessor`` and the like; empty if the file has none.
        content: of the file.

    Raises:
        DataError: the class has other steps, or is unknown and the file does not say each switch,
            or the file asks for a step that the class does not have; the message wants the file's
            name before it.
    """
    if not kind:
        return content
    if kind in _OTHERWISE:
        raise DataError(f"is of {kind}, whose steps are not known. Give single options instead.")
    processor = _BY_CLASS.get(kind)
    if processor is None:
        _require_switches(kind, content)
        return content
    for step in (_CROP, _PAD, _FLIP, _OFFSET):
        if content.get(step) and step not in processor.steps:
            raise DataError(
                f"asks for {step}, which is not known of {kind}. Give single options instead."
            )
    merged = {**processor.defaults, **content}
    return {**merged, "default_to_square": bool(merged["default_to_square"])}  # null is no


def _require_switches(kind: str, content: Mapping[str, object]) -> None:
    """Refuse a file of a class that is not known here and may do by itself what it leaves out.

    Raises:
        DataError: names the switches that it does not say.
    """
    switches = ["do_resize", "do_rescale", "do_normalize"]
    switches += [
        step for size, step in (("crop_size", _CROP), ("pad_size", _PAD)) if size in content
    ]
    missing = [switch for switch in switches if content.get(switch) is None]
    if missing:
        raise DataError(
            f"is of {kind}, which is not known, and does not say {' and '.join(missing)}. Add "
            "to a copy of the file what the class does (true or false), or give single options "
            "instead."
        )
