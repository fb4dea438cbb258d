"""Surgery on ONNX graphs: find the site, insert the mask, cut the network in two.

Nothing here sees data or runs a network. A :class:`Network` is never changed.
"""

from analyzer.surgery.activation_outputs import write_activation_outputs
from analyzer.surgery.cut import cut
from analyzer.surgery.inputs import bind_inputs
from analyzer.surgery.margins import write_margins
from analyzer.surgery.mask import write_masked
from analyzer.surgery.network import Network, load, runnable
from analyzer.surgery.outline import Outline, outline
from analyzer.surgery.outputs import answer
from analyzer.surgery.rewriting import rewritten
from analyzer.surgery.sites import candidates, default_site, find_site, named_site

__all__ = [
    "Network",
    "Outline",
    "answer",
    "bind_inputs",
    "candidates",
    "cut",
    "default_site",
    "find_site",
    "load",
    "named_site",
    "outline",
    "rewritten",
    "runnable",
    "write_activation_outputs",
    "write_margins",
    "write_masked",
]
