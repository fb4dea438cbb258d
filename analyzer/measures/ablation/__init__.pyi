from .class_curves import read_curves, write_curves
from .curve_features import (
    AREA,
    CURVE_FEATURES,
    chance_fraction,
    class_quantities,
    compute_curve_features,
    network_quantities,
)
from .measure import Ablation, AblationResult
from .prefix_and_suffix import CutNetwork, Features, check_precision, check_surgery, open_network
from .ranking_and_evaluations import RANKS, Evaluations, Ranking, necessary_evaluations, order_units
from .sample_scores import read_samples, write_samples
from .sweep import SweepOptions, ablate, resumed_shards, split_into_shards, sweep_shards
from .sweep_state import SweepState
from .tolerance import CONFIDENCE, Tolerance

__all__ = [
    "AREA",
    "CONFIDENCE",
    "CURVE_FEATURES",
    "RANKS",
    "Ablation",
    "AblationResult",
    "CutNetwork",
    "Evaluations",
    "Features",
    "Ranking",
    "SweepOptions",
    "SweepState",
    "Tolerance",
    "ablate",
    "chance_fraction",
    "check_precision",
    "check_surgery",
    "class_quantities",
    "compute_curve_features",
    "necessary_evaluations",
    "network_quantities",
    "open_network",
    "order_units",
    "read_curves",
    "read_samples",
    "resumed_shards",
    "split_into_shards",
    "sweep_shards",
    "write_curves",
    "write_samples",
]
