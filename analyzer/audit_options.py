"""What an audit is asked for: every option, declared once.

The command line, the settings in ``audit.json`` and what identifies an audit follow from these
declarations (:mod:`analyzer.option_mechanism`). A function takes the group that it needs; a
request is all of them together. Options of preprocessing are declared in
:mod:`analyzer.data.preprocessing.preprocess_options`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from analyzer.data.preprocessing.preprocess_options import PreprocessOptions
from analyzer.errors import AnalyzerError
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets, parse_budget
from analyzer.option_mechanism import (
    option,
    parse_assignment,
    parse_names,
    parse_part,
    parse_size,
    settings_of,
)
from analyzer.runtime.precision import PRECISIONS

__all__ = [
    "GATES",
    "RANKS",
    "SITES",
    "AuditRequest",
    "BudgetOptions",
    "DataOptions",
    "LimitOptions",
    "MeasureOptions",
    "RunOptions",
    "SiteOptions",
    "TestOptions",
]

RANKS = ("l1", "selectivity", "random")
"""What units can be ranked by."""

GATES = ("upper", "estimate", "measured")
"""What a limit of the gap can be held against."""

SITES = ("activation", "conv")
"""What a convolution's name can mean as a site."""


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """How much the files may ask for."""

    budget: tuple[tuple[str, int | None], ...] = option(
        (),
        "Raise what a file may ask for before it is refused, such as pixels=200M or turns=none; "
        "refusals name it. all=none drops every limit. May be repeated.",
        metavar="NAME=N|none",
        parse=parse_budget,
        repeated=True,
        setting=False,
    )

    @property
    def budgets(self) -> Budgets:
        """The budgets in force.

        Raises:
            AnalyzerError: one that does not exist is given.
        """
        return DEFAULT_BUDGETS.raised(self.budget)


@dataclass(frozen=True, kw_only=True)
class SiteOptions:
    """What is masked, and which output names the class."""

    site: str | None = option(
        None,
        "What to mask: a convolution's name means its activated output, a tensor's name that "
        "tensor.  [default: the activation that `onnx-gap inspect` marks]",
        metavar="NODE|TENSOR",
    )
    at: str | None = option(
        None,
        "With a convolution as --site: its activated output, or its raw output.  "
        "[default: activation]",
        metavar="activation|conv",
        choices=SITES,
        needs="site",
    )
    axis: int | None = option(
        None,
        "Channel axis of --site.  [default: as the operators imply]",
        metavar="N",
        needs="site",
    )
    output: str | None = option(
        None,
        "Output with the logits, if there are several.",
        metavar="NAME",
        identity=True,
    )
    custom_ops: Path | None = option(
        None,
        "Library of custom operators that the network uses, as onnxruntime loads it.",
        metavar="LIB",
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which samples are read, and how."""

    inputs: tuple[tuple[str, str], ...] = option(
        (),
        "What an extra input of the network is fed: a number or a .npy file, the same for every "
        "image. May be repeated.",
        flag="--input",
        metavar="NAME=FILE|VALUE",
        parse=parse_assignment,
        repeated=True,
        identity=True,
    )
    keys: tuple[str, str] | None = option(
        None,
        "Names of the arrays in an .npz file.",
        metavar="IMAGES,LABELS",
        parse=parse_names,
        setting=False,
    )
    classes: Path | None = option(
        None,
        "The network's classes in its order: a name a line, JSON, or CSV.",
        metavar="FILE",
    )
    limit_per_class: int | None = option(
        None,
        "Use at most N samples of each class, drawn at random.",
        metavar="N",
        least=1,
        identity=True,
    )
    seed: int = option(
        0,
        "Seed of that draw, of --rank random, of --tolerance, and of the parts and partners of "
        "interpolation and neighbors.",
        metavar="N",
        least=0,
        show_default=True,
        identity=True,
    )
    skip_bad: bool = option(False, "Leave out unreadable samples and count them.")
    preprocess: PreprocessOptions = field(default_factory=PreprocessOptions)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how the network runs."""

    device: str = option(
        "auto",
        "Where the network runs. Several GPUs, as cuda:0,cuda:1, each get some of the classes.",
        metavar="auto|cpu|cuda[:N],…",
        show_default=True,
        identity=True,
    )
    precision: str = option(
        "float32",
        "Number format that the network runs in. tf32 (GPUs alone) and fp16 are faster on a GPU "
        "and may decide near ties differently.",
        metavar="|".join(PRECISIONS),
        choices=PRECISIONS,
        show_default=True,
        identity=True,
    )
    memory: int = option(
        2 << 30,
        "Memory for activations; larger data are processed class by class.  [default: 2G]",
        metavar="SIZE",
        parse=parse_size,
        least=1,
    )
    threads: int = 0  # of one operator; 0: all cores


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """What is measured, and how exactly."""

    chance: float | None = option(
        None,
        "Accuracy of guessing.  [default: 1 / number of classes]",
        metavar="X",
        least=0,
        most=1,
        open_most=True,
    )
    tolerance: float = option(
        0.0,
        "Run only the evaluations that are needed to know ζ and κ to within T; the result bounds "
        "the error.  [default: 0, exact]",
        metavar="T",
        least=0,
        most=1,
        open_most=True,
        identity=True,
    )
    rank: str = option(
        "l1",
        "What units are ranked by: activity (the method's own), class selectivity, or an order "
        "drawn from --seed, as a control.",
        metavar="|".join(RANKS),
        choices=RANKS,
        show_default=True,
        identity=True,
    )
    margins: bool = option(
        False,
        "Also measure how far samples are from another class, at the images and three layers: the "
        "features of the margin-based estimate. Takes a forward and a backward pass more.",
    )
    interpolation_samples: int | Literal["all"] | None = option(
        None,
        "Samples that are mixed with others: a number, 0 for none, or all.  [default: all; from "
        "20,000 on a part, balanced by class, that takes one pass]",
        metavar="N|all",
        parse=parse_part,
        least=0,
    )
    neighbor_samples: int | Literal["all"] | None = option(
        None,
        "Samples whose neighbors are looked for, among themselves: a number, 0 for none, or all.  "
        "[default: all; from 20,000 on a part, balanced by class, of 5,000 to 20,000 whose search "
        "takes one pass; no more than --memory holds]",
        metavar="N|all",
        parse=parse_part,
        least=0,
    )
    groups: str | None = option(
        None,
        "Which samples show the same thing: a table of samples and groups, a file with a group for "
        "each sample, or a column of the manifest. Those of a group are neither neighbors nor "
        "partners.",
        metavar="FILE|COLUMN",
    )
    keep_twins: bool = option(
        False,
        "Let samples be neighbors that look as if they showed the same thing.",
    )
    suspects: int | Literal["all"] | None = option(
        None,
        "Training samples to list as suspicious, by name: a number, 0 for none, or all.  "
        "[default: 1 % of them; of few samples 20, but no more than 5 %]",
        metavar="N|all",
        parse=parse_part,
        least=0,
    )

    def chance_of(self, classes: int) -> float:
        """The chance level for a network of so many classes."""
        return 1 / classes if self.chance is None else self.chance


@dataclass(frozen=True, kw_only=True)
class DrawOptions:
    """How much of an audit a verification measures again."""

    cells: int | Literal["all"] = option(
        100,
        "Cells of the curves that are drawn, and counted again with the samples of their class.",
        metavar="N|all",
        parse=parse_part,
        least=0,
        show_default=True,
    )
    seed: int | None = option(
        None,
        "Seed of the draw.  [default: one that nobody can foresee]",
        metavar="N",
        least=0,
    )


@dataclass(frozen=True, kw_only=True)
class TestOptions:
    """Data that the network was not trained on, where there are some."""

    __test__ = False  # no test of pytest's

    test_data: str | None = option(
        None,
        "Test data, read like --data: the measured gap stands beside the estimate.",
        metavar="DATA",
    )
    test_keys: tuple[str, str] | None = option(
        None,
        "Names of their arrays in the test data.  [default: as --keys]",
        metavar="X,Y",
        parse=parse_names,
        needs="test_data",
    )


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """What the network must keep to pass."""

    max_gap: float | None = option(
        None,
        "The gap must not exceed X: the upper end of the estimate's interval, see --gate.",
        metavar="X",
        least=-1,
        most=1,
    )
    gate: str = option(
        "upper",
        "What --max-gap is held against: the upper end of the interval, the estimate itself, or "
        "the gap measured on --test-data.",
        metavar="|".join(GATES),
        choices=GATES,
        show_default=True,
        needs="max_gap",
    )
    min_accuracy: float | None = option(
        None,
        "The accuracy on the training data must be X at least.",
        metavar="X",
        least=0,
        most=1,
    )
    max_suspects: float | None = option(
        None,
        "The share of labels that are more likely wrong than right must not exceed X.",
        metavar="X",
        least=0,
        most=1,
    )
    anyway: bool = option(
        False,
        "Count although a first look at the data finds the network at chance, its classes in "
        "another order, or its accuracy under --min-accuracy.",
        setting=False,
    )


@dataclass(frozen=True, kw_only=True)
class AuditRequest(
    SiteOptions, DataOptions, RunOptions, MeasureOptions, TestOptions, LimitOptions, BudgetOptions
):
    """Everything that an audit is asked for."""

    model: Path
    data: str | tuple[Any, Any]  # a path, or (images, labels)
    out: Path
    model_name: str = ""  # how the record names the network; "" for its path
    data_name: str = ""  # likewise
    gap_model: Path | None = None
    gap_model_name: str = ""
    gap_model_named: bool = True  # False: nobody asked for it; the audit is whole without it
    auditor: str = ""  # who asks, for the record
    command: str = ""  # by which they ask, for the record
    further_results: Mapping[str, Path] = field(default_factory=dict)
    # files that are written of the audit besides its folder, by parameter: they replace no data
    needs_site: bool = False  # refuse a network that has none, instead of removing nothing
    within: bool = False  # a folder that another run keeps: those above ``out`` are not made
    fresh: bool = False  # drop what the folder holds
    fresh_if_other: bool = False  # drop an audit of something else, rather than refuse
    wait: bool = False  # until another run that writes the folder is done

    def told(self, error: AnalyzerError) -> str:
        """What a record says of an error: with flags where a command line asked."""
        return error.for_command_line() if self.command else str(error)

    def settings(self) -> dict[str, Any]:
        """The options in force, as a result lists them."""
        gap_model = self.gap_model_name or (self.gap_model and str(self.gap_model))
        return {**settings_of(self), "inputs": dict(self.inputs), "gap_model": gap_model}
