"""Surgery on ONNX graphs: find the site, insert the mask, cut the network in two.

Nothing here sees data or runs a network. A :class:`Network` is never changed.
"""

from analyzer.surgery.cut import cut_network
from analyzer.surgery.cut_plan import Outline, ShapeProbe, outline_network, write_shape_probe
from analyzer.surgery.inputs_and_outputs import bind_inputs, find_answer
from analyzer.surgery.layers import write_activation_outputs
from analyzer.surgery.margin_graph import write_margin_graph
from analyzer.surgery.mask import write_masked
from analyzer.surgery.network import (
    Network,
    load_network,
    one_image_at_a_time,
    rewrite_network,
    runnable_file,
)
from analyzer.surgery.sites import candidates, default_site, find_site, named_site

__all__ = [
    "Network",
    "Outline",
    "ShapeProbe",
    "bind_inputs",
    "candidates",
    "cut_network",
    "default_site",
    "find_answer",
    "find_site",
    "load_network",
    "named_site",
    "one_image_at_a_time",
    "outline_network",
    "rewrite_network",
    "runnable_file",
    "write_activation_outputs",
    "write_margin_graph",
    "write_masked",
    "write_shape_probe",
]
