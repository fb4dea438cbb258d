"""What people keep: the audit folder, its record, report, comparison and verification.

Running an audit needs onnx and onnxruntime, reading one does not: what runs one is imported when
it is first asked for, so that ``compare``, ``verify`` and ``report`` start at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
