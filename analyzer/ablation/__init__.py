"""Cumulative unit ablation: sessions, unit order, the rows that have to be run, the sweep."""

from analyzer.ablation.check import check_precision, check_surgery
from analyzer.ablation.cumulative import ablate
from analyzer.ablation.dealing import ablate_shares, deal, restored
from analyzer.ablation.evaluation import accuracy
from analyzer.ablation.features import Features
from analyzer.ablation.gpus import devices, named_devices
from analyzer.ablation.margins import MarginTally, measure_margins
from analyzer.ablation.network import CutNetwork, open_network
from analyzer.ablation.precision import PRECISIONS, in_float16
from analyzer.ablation.rows import Rows, necessary_rows
from analyzer.ablation.samples import Batch, Load, Samples, images_at_once
from analyzer.ablation.sessions import OutOfMemory, Session, open_session
from analyzer.ablation.tally import Tally
from analyzer.ablation.tolerance import CONFIDENCE, Tolerance
from analyzer.ablation.unit_order import RANKS, Ranking, unit_order

__all__ = [
    "CONFIDENCE",
    "PRECISIONS",
    "RANKS",
    "Batch",
    "CutNetwork",
    "Features",
    "Load",
    "MarginTally",
    "OutOfMemory",
    "Ranking",
    "Rows",
    "Samples",
    "Session",
    "Tally",
    "Tolerance",
    "ablate",
    "ablate_shares",
    "accuracy",
    "check_precision",
    "check_surgery",
    "deal",
    "devices",
    "images_at_once",
    "in_float16",
    "measure_margins",
    "named_devices",
    "necessary_rows",
    "open_network",
    "open_session",
    "restored",
    "unit_order",
]
