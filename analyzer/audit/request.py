"""What an audit is asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analyzer.data import PreprocessOptions

__all__ = ["AuditRequest"]

_MEMORY = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """Everything that an audit is asked for."""

    model: Path
    data: str
    out: Path
    model_name: str = ""  # how the record names the network; "" for its path
    data_name: str = ""  # likewise
    keys: tuple[str, str] | None = None  # names of images and labels in an .npz
    preprocess: PreprocessOptions = field(default_factory=PreprocessOptions)
    site: str | None = None  # node or tensor; None for the default site
    at: str = "activation"  # or "conv"
    axis: int | None = None
    output: str | None = None
    inputs: tuple[tuple[str, str], ...] = ()  # further ones: name, and a number or .npy file
    custom_ops: Path | None = None  # library of operators that the network uses
    classes: Path | None = None  # list of class names
    chance: float | None = None  # None: 1 / number of classes
    limit_per_class: int | None = None
    rank: str = "l1"  # what units are ranked by, one of analyzer.measures.ablation.RANKS
    seed: int = 0  # of the limit per class, and of random orders
    skip_bad: bool = False
    device: str = "auto"  # or several GPUs, separated by commas
    precision: str = "float32"  # one of analyzer.runtime.PRECISIONS
    memory: int = _MEMORY  # bytes that features may take
    threads: int = 0  # of one operator; 0: all cores
    gap_model: Path | None = None
    gap_model_name: str = ""
    tolerance: float = 0.0  # of ζ and κ; 0: exact counts
    margins: bool = False  # measure the margin-based estimate's features too
    suspects: int | None = None  # samples to list as suspicious; None: 1 %, and 20 at least
    fresh: bool = False  # drop what the folder holds

    def chance_of(self, classes: int) -> float:
        """The chance level for a network of so many classes."""
        return 1 / classes if self.chance is None else self.chance

    def settings(self) -> dict[str, Any]:
        """The options in force, as the command line names them."""
        return {
            "site": self.site,
            "at": self.at,
            "axis": self.axis,
            "output": self.output,
            "inputs": dict(self.inputs),
            "custom_ops": None if self.custom_ops is None else str(self.custom_ops),
            "classes": None if self.classes is None else str(self.classes),
            "chance": self.chance,
            "rank": self.rank,
            "limit_per_class": self.limit_per_class,
            "seed": self.seed,
            "skip_bad": self.skip_bad,
            "device": self.device,
            "precision": self.precision,
            "memory": self.memory,
            "tolerance": self.tolerance,
            "margins": self.margins,
            "suspects": self.suspects,
            "gap_model": self.gap_model_name or (self.gap_model and str(self.gap_model)),
        }
