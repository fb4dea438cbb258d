"""Running networks with onnxruntime: devices, sessions, precision, and batches that fit."""

from analyzer.runtime.devices import devices, named_devices
from analyzer.runtime.evaluate import accuracy
from analyzer.runtime.precision import PRECISIONS, in_float16
from analyzer.runtime.samples import Batch, Load, Samples, images_at_once
from analyzer.runtime.sessions import OutOfMemory, Session, open_session

__all__ = [
    "PRECISIONS",
    "Batch",
    "Load",
    "OutOfMemory",
    "Samples",
    "Session",
    "accuracy",
    "devices",
    "images_at_once",
    "in_float16",
    "named_devices",
    "open_session",
]
