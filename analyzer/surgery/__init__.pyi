from .activation_graph import write_activation_outputs
from .cut import cut_network
from .cut_plan import Outline, outline_network, write_shape_probe
from .float_types import operators_of_float32, type_rounding
from .inputs_and_outputs import bind_inputs, find_answer
from .margin_graph import write_margin_graph
from .mask import write_masked
from .network import (
    Network,
    load_network,
    one_image_at_a_time,
    rewrite_network,
    runnable_file,
    sha256_of_network,
)
from .session_cost import check_session_cost
from .sites import candidates, default_site, find_site, named_site

__all__ = [
    "Network",
    "Outline",
    "bind_inputs",
    "candidates",
    "check_session_cost",
    "cut_network",
    "default_site",
    "find_answer",
    "find_site",
    "load_network",
    "named_site",
    "one_image_at_a_time",
    "operators_of_float32",
    "outline_network",
    "rewrite_network",
    "runnable_file",
    "sha256_of_network",
    "type_rounding",
    "write_activation_outputs",
    "write_margin_graph",
    "write_masked",
    "write_shape_probe",
]
