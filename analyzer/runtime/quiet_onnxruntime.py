"""onnxruntime without its telemetry and without words of its own: the one place that imports it.

Official builds write a device identifier and a database of events under the user's cache folder
and the folder for temporary files, and upload from there. The variable prevents all of that if it
is set before onnxruntime is first imported; a process that imported it earlier is at least kept
from recording what happens from here on.
"""

import os
from collections.abc import Callable
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from analyzer.runtime.installed_onnxruntime import explain_broken_module

FATAL_ONLY = 4
"""Severity for logs: what matters comes back as exceptions, the rest would go to standard error."""

try:
    import onnxruntime as ort

    ort.disable_telemetry_events()
    ort.set_default_logger_severity(FATAL_ONLY)
except (ImportError, AttributeError) as error:
    raise explain_broken_module(error) from error

__all__ = ["FATAL_ONLY", "load_float16_converter", "ort"]


def load_float16_converter() -> Callable[..., Any]:
    """onnxruntime's own converter; imported when it is asked for, because that takes time."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16
