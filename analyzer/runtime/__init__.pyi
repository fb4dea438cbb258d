from .batch_size import OutOfMemory, images_at_once
from .installed_onnxruntime import installation_warning, running_onnxruntime
from .precision import PRECISIONS, in_float16
from .predictions import UNNAMED, Predictions, WholeNetwork, name_classes, predict
from .providers import lacks_tf32, list_devices, named_devices
from .sessions import Session, open_session

__all__ = [
    "PRECISIONS",
    "UNNAMED",
    "OutOfMemory",
    "Predictions",
    "Session",
    "WholeNetwork",
    "images_at_once",
    "in_float16",
    "installation_warning",
    "lacks_tf32",
    "list_devices",
    "name_classes",
    "named_devices",
    "open_session",
    "predict",
    "running_onnxruntime",
]
