from .curve_features import AREA, CURVE_FEATURES, compute_curve_features
from .cut_network import CutNetwork, open_network
from .evaluations import Rows, necessary_rows
from .measure import Ablation, AblationResult
from .quantities import (
    chance_fraction,
    class_quantities,
    network_quantities,
)
from .result_files import read_curves, read_samples, write_curves, write_samples
from .sharding import ablate_shares, deal, restored
from .suffix_features import Features
from .surgery_check import check_precision, check_surgery
from .sweep import ablate
from .sweep_state import Tally
from .tolerance import CONFIDENCE, Tolerance
from .unit_order import RANKS, Ranking, order_units

__all__ = [
    "AREA",
    "CONFIDENCE",
    "CURVE_FEATURES",
    "RANKS",
    "Ablation",
    "AblationResult",
    "CutNetwork",
    "Features",
    "Ranking",
    "Rows",
    "Tally",
    "Tolerance",
    "ablate",
    "ablate_shares",
    "chance_fraction",
    "check_precision",
    "check_surgery",
    "class_quantities",
    "compute_curve_features",
    "deal",
    "necessary_rows",
    "network_quantities",
    "open_network",
    "order_units",
    "read_curves",
    "read_samples",
    "restored",
    "write_curves",
    "write_samples",
]
