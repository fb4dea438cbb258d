"""Surgery on ONNX graphs: find the site, insert the mask, cut the network in two.

Nothing here sees data or runs a network. A :class:`Network` is never changed.
"""

import lazy_loader

from analyzer.surgery.deferred_imports import deferred

with deferred("sympy", "onnx_ir._symbolic_shapes"):  # which takes functions from sympy at once
    import onnx_ir as onnx_ir

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
