"""What a user of the library calls: paths or arrays in, results that show themselves out.

Results warn through ``warnings.warn`` with the category :class:`AuditWarning`.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzer.audit_object import Audit, as_opened
from analyzer.common_types import Progress
from analyzer.control_characters import printable
from analyzer.errors import (
    AnalyzerError,
    AuditFolderError,
    DataError,
    GapModelError,
    ModelError,
    OutputError,
)
from analyzer.files import check_are_paths, check_paths
from analyzer.make_request import (
    Data,
    audit_request,
    coerced_options,
    given_data,
    population_request,
)
from analyzer.output_files import check_place
from analyzer.zoo_names import (
    gap_model_path,
    is_zoo_name,
    network_path,
    zoo_entry,
)

if TYPE_CHECKING:
    from analyzer.audit import Comparison, Remeasuring, Verification
    from analyzer.audit_options import SiteOptions
    from analyzer.data import PreprocessOptions
    from analyzer.estimation import GapModel, PopulationTable
    from analyzer.input_budgets import Budgets
    from analyzer.surgery import Outline

__all__ = [
    "AuditWarning",
    "audit_network",
    "audit_population",
    "compare_audits",
    "fit_gap_model",
    "inspect_network",
    "verify_audit",
    "write_masked",
]


BudgetChange = str | Iterable[str] | Mapping[str, int | None]
"""Budgets to be changed: "NAME=N", several of these, or values by name; None for no limit."""


class AuditWarning(UserWarning):
    """Something that a reader of a result must know."""


@dataclass(frozen=True)
class _Switches:
    """Of :func:`audit_population`, besides the options of an audit."""

    skip_failed: bool
    page: bool


def _silent(*_: object) -> None:
    """Report nothing."""


def _reporting(progress: Progress | None) -> Progress:
    """What is called as work goes on; None for nothing.

    Raises:
        TypeError: it cannot be called.
    """
    if progress is not None and not callable(progress):
        raise TypeError(
            f"progress is of type {type(progress).__name__}; it takes a function of (stage, done, "
            "total), or None."
        )
    return progress or _silent


def audit_network(
    model: str | Path,
    data: Data | None = None,
    out: str | Path = "audit",
    *,
    preprocess: "str | Path | Mapping[str, Any] | PreprocessOptions | None" = None,
    gap_model: str | Path | None = None,
    fresh: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Audit:
    """Audit a network on its training data.

    Args:
        model: path of an ONNX file, or "zoo:NAME".
        data: the training samples with the labels that the network was trained on: a path,
            "zoo:NAME", or (images, labels) as ndarrays of shapes (S, …) and (S,). A bundled
            network brings its own.
        out: folder that takes the result. An audit that it holds already is resumed, or returned.
        preprocess: a preset's name, a path of timm's or Hugging Face's file, a mapping of single
            options, or :class:`analyzer.PreprocessOptions`.
        gap_model: path of a gap model, "zoo:NAME", or "none" for no estimate. By default a finished
            audit keeps the one that it has, and any other gets "zoo:any".
        fresh: replace what ``out`` holds.
        wait: until another run that writes ``out`` is done, rather than raise.
        progress: called with (stage, done, total) as the audit goes through its samples.
        options: any option of :class:`analyzer.AuditRequest`, such as ``device="cpu"``.

    Raises:
        AuditStopped: a first look at the data found that nothing would mean anything, and
            ``anyway`` is not set.
        AnalyzerError: anything about the input; the folder is left as it was found.
        TypeError: an option of another name, or a value of another type.
    """
    from analyzer.audit import run_audit

    report = _reporting(progress)
    request = audit_request(
        model,
        data,
        out,
        preprocess=preprocess,
        gap_model=gap_model,
        fresh=fresh,
        wait=wait,
        **options,
    )
    record = run_audit(request, progress=report)
    for sentence in dict.fromkeys((*record.warnings, *(record.gap.warnings if record.gap else ()))):
        warnings.warn(printable(sentence), AuditWarning, stacklevel=2)
    return Audit(request.out, record)


def inspect_network(
    model: str | Path,
    *,
    site: str | None = None,
    at: str | None = None,
    axis: int | None = None,
    output: str | None = None,
    custom_ops: str | Path | None = None,
    img_size: tuple[int, int] | None = None,
    budget: BudgetChange = (),
) -> "Outline":
    """What could be masked in a network, the site in force, and what a sweep would cost.

    Args:
        model: path of an ONNX file, or "zoo:NAME".
        site: node or tensor; None for the default site.
        at: with a convolution as ``site``: its "activation", as by default, or "conv" for its raw
            output.
        axis: channel axis of ``site``.
        output: output with the scores, if there are several.
        custom_ops: library of operators that the network uses.
        img_size: height and width of the image that is run to know the cost, where the network
            leaves its shapes open; by default 224 × 224.
        budget: what it may ask for, where that is not the default: {"nodes": 10**6}, or
            {"all": None} for no limits.

    Raises:
        ModelError: the file is no network that can be analyzed.
        SiteError: nothing fits ``site``, or there is no default.
    """
    from analyzer import surgery
    from analyzer.audit import outline_with_cost

    check_are_paths(model=model)
    check_paths(ModelError, model=model, custom_ops=custom_ops)
    asked = _site_options(site=site, at=at, axis=axis, output=output, custom_ops=custom_ops)
    network = surgery.load_network(
        network_path(model), custom_ops=asked.custom_ops, budgets=_budgets(budget)
    )
    found = surgery.find_site(
        network, asked.site, at=asked.at, axis=asked.axis, output=asked.output
    )
    return outline_with_cost(network, found, asked.output, img_size=img_size)


def write_masked(
    model: str | Path,
    out: str | Path,
    *,
    site: str | None = None,
    at: str | None = None,
    axis: int | None = None,
    output: str | None = None,
    custom_ops: str | Path | None = None,
    budget: BudgetChange = (),
) -> Path:
    """Write a network with a channel mask, float [1 or N, M], as an extra input.

    The mask has a default of ones, so the file is a drop-in for the original.

    Args:
        model: path of an ONNX file, or "zoo:NAME".
        out: the file to write.
        site, at, axis, output, custom_ops, budget: as of :func:`inspect_network`.

    Raises:
        ModelError, SiteError: as :func:`inspect_network`.
        OutputError: the file cannot be written, or another than a network's would be replaced.
    """
    from analyzer import surgery
    from analyzer.audit import refuse_to_replace

    check_are_paths(model=model, out=out)
    check_paths(ModelError, model=model, custom_ops=custom_ops)
    check_paths(OutputError, out=out)
    check_place(out)
    refuse_to_replace({"out": out}, [custom_ops], [Path(out).parent])
    asked = _site_options(site=site, at=at, axis=axis, output=output, custom_ops=custom_ops)
    network = surgery.load_network(
        network_path(model), custom_ops=asked.custom_ops, budgets=_budgets(budget)
    )
    found = surgery.find_site(
        network, asked.site, at=asked.at, axis=asked.axis, output=asked.output
    )
    surgery.write_masked(network, found, Path(out))
    return Path(out)


def audit_population(
    manifest: str | Path,
    out: str | Path,
    *,
    preprocess: "str | Path | Mapping[str, Any] | PreprocessOptions | None" = None,
    gap_model: str | Path | None = None,
    jobs: int = 1,
    skip_failed: bool = False,
    page: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> "PopulationTable":
    """Audit every network of a manifest, and write ``out/population.csv``.

    Args:
        manifest: CSV file, a row a network: name, model, train_data, and what is known of
            test_data, train_accuracy, test_accuracy and gap.
        out: folder that takes the table and an audit folder a network.
        preprocess: as of :func:`audit_network`, the same for all networks.
        gap_model: likewise.
        jobs: networks audited at once, each in a process of its own.
        skip_failed: go on after a network that cannot be audited, and warn of it, rather than
            stop; either way ``out/failed.csv`` names those that failed, and the table has the
            networks that are done.
        page: also write ``out/population.html``, the table for people.
        progress: called with ("networks", done, total).
        options: as of :func:`audit_network`.

    Raises:
        AnalyzerError: what is wrong with the network that could not be audited, or that none
            could be.
    """
    from analyzer.audit import audit_population as audit_all
    from analyzer.audit import read_manifest

    report = _reporting(progress)
    switches = coerced_options({"skip_failed": skip_failed, "page": page}, _Switches)
    check_are_paths(manifest=manifest, out=out)
    check_paths(DataError, manifest=manifest)
    members = read_manifest(Path(manifest))
    template = population_request(
        members, out, preprocess=preprocess, gap_model=gap_model, **options
    )
    found = audit_all(
        members,
        template,
        Path(out),
        jobs=jobs,
        skip_failed=switches["skip_failed"],
        page=switches["page"],
        progress=report,
        say=_warn,
    )
    return found.table


def fit_gap_model(
    population: "str | Path | PopulationTable",
    out: str | Path | None = None,
    *,
    features: str = "paper",
    name: str | None = None,
    trained_on: str = "data not named",
    architecture: str = "architecture not named",
    coverage: float = 0.9,
) -> "GapModel":
    """Fit a gap model on an audited population.

    Args:
        population: its table, or the path of one.
        out: JSON file to write; None to write none.
        features: a name of :data:`analyzer.estimation.FEATURE_SETS`, e.g. "paper" for ζ and κ.
        name: what results call the gap model; by default the file's name.
        trained_on: the data of the population, for people who read results.
        architecture: likewise.
        coverage: nominal coverage of the prediction interval, in (0, 1).

    Raises:
        GapModelError: the table is unusable, or too few networks have a known gap.
        OutputError: the file cannot be written.
    """
    from analyzer import estimation
    from analyzer.audit import refuse_to_replace

    _check_numbers(Real, coverage=coverage)
    check_paths(GapModelError, population=population)
    check_paths(OutputError, out=out)
    for parameter, text in (
        ("name", "" if name is None else name),
        ("trained_on", trained_on),
        ("architecture", architecture),
        ("features", features),
    ):
        if not isinstance(text, str):
            raise TypeError(f"{parameter} is of type {type(text).__name__}; it takes a text.")
    if out is not None:
        check_are_paths(out=out)
        check_place(out, text=True)
        refuse_to_replace({"out": out}, [population], [Path(out).parent])
    table = population
    if isinstance(table, str | Path):
        table = estimation.read_population(table)
    if not isinstance(table, estimation.PopulationTable):
        raise TypeError(
            f"population is of type {type(table).__name__}: give the path of a table, or one that "
            "audit_population returned."
        )
    fitted = estimation.fit_population(
        table,
        name=name or (Path(out).stem if out is not None else "gap model"),
        data=trained_on,
        architecture=architecture,
        coverage=coverage,
        features=features,
    )
    return fitted if out is None else estimation.write_gap_model(fitted, out)


def compare_audits(
    before: "str | Path | Audit",
    after: "str | Path | Audit",
    *,
    tolerance: float = 0.01,
    resamples: int = 2000,
    seed: int = 0,
    page: str | Path | None = None,
    progress: Progress | None = None,
) -> "Comparison":
    """Compare two audits.

    Args:
        before, after: audit folders, or audits, whose folders must still hold them.
        tolerance: by how much ζ and the estimated gap may rise, and κ may fall.
        resamples: drawings of the samples, for the noise of the differences.
        seed: of these.
        page: HTML file to write; None to write none.
        progress: called with (stage, done, total).

    Raises:
        AuditFolderError: one of the folders holds no readable audit, or another than was given.
        DataError: ``resamples`` or ``seed`` cannot be such, or is given and does nothing, as the
            audits are of different samples.
        OutputError: ``page`` cannot be written.
    """
    from analyzer.audit import compare_audits as compare
    from analyzer.audit import refuse_idle_draw, refuse_to_replace, write_comparison

    report = _reporting(progress)
    _check_numbers(Real, tolerance=tolerance)
    _check_numbers(Integral, resamples=resamples, seed=seed)
    check_paths(AuditFolderError, before=before, after=after)
    check_paths(OutputError, page=page)
    folders = _folder("before", before), _folder("after", after)
    if page is not None:
        check_are_paths(page=page)
        check_place(page, text=True)
        refuse_to_replace({"page": page}, [], folders)
    with as_opened(before, after):
        found = compare(
            *folders, tolerance=tolerance, resamples=resamples, seed=seed, progress=report
        )
        refuse_idle_draw([found], resamples, seed)
        if page is not None:
            write_comparison(folders, [found], page)
    return found


def verify_audit(
    folder: "str | Path | Audit",
    *,
    model: str | Path | None = None,
    gap_model: str | Path | None = None,
    signature: str | Path | None = None,
    allowed_signers: str | Path | None = None,
    signer: str | None = None,
    budget: BudgetChange = (),
    data: Data | None = None,
    progress: Progress | None = None,
    **remeasuring: Any,
) -> "Verification":
    """Check that an audit folder is whole, and that its numbers follow from its counts.

    With ``data`` the counts themselves are held against what the network gives, in drawn parts.

    Args:
        folder: audit folder, or an audit, whose folder must still hold it.
        model: the network, or "zoo:NAME"; by default where the audit says it was.
        gap_model: likewise.
        signature: file that ``ssh-keygen -Y sign -n onnx-gap`` made of ``manifest.json``.
        allowed_signers: file of those who may sign, as ssh-keygen reads it.
        signer: the one of them that must have signed; by default any.
        budget: as of :func:`inspect_network`.
        data: the training data, as of :func:`audit_network`.
        progress: called with (stage, done, total) as the data are gone through.
        remeasuring: fields of :class:`analyzer.audit.Remeasuring`: ``cells`` to draw, their
            ``seed``, the ``device``, and ``keys``, ``classes``, ``inputs``, ``groups`` and
            ``custom_ops`` as of :func:`audit_network`.

    Raises:
        AuditFolderError: a file of the folder is missing or unreadable, or the signature cannot be
            checked, or the folder holds another audit than was given.
        ModelError, GapModelError: what was named is not one.
        DataError: the data cannot be read, or not by the recorded preprocessing.
        TypeError: an option of another name.
    """
    from analyzer.audit import recorded_names
    from analyzer.audit import verify_audit as verify

    report = _reporting(progress)
    for name, path in (
        ("model", model),
        ("gap_model", gap_model),
        ("signature", signature),
        ("allowed_signers", allowed_signers),
    ):
        if path is not None:
            check_are_paths(**{name: path})
    check_paths(
        AuditFolderError, folder=folder, signature=signature, allowed_signers=allowed_signers
    )
    check_paths(ModelError, model=model, custom_ops=remeasuring.get("custom_ops"))
    check_paths(GapModelError, gap_model=gap_model)
    named = {name: remeasuring.get(name) for name in ("classes", "groups")}
    check_paths(DataError, data=data, **named)
    place = _folder("folder", folder)
    with as_opened(folder):
        model_name, gap_model_name = recorded_names(place)
        return verify(
            place,
            model=_bundled(network_path, model_name) if model is None else network_path(model),
            gap_model=_bundled(gap_model_path, gap_model_name)
            if gap_model is None
            else gap_model_path(gap_model),
            signature=None if signature is None else Path(signature),
            allowed_signers=None if allowed_signers is None else Path(allowed_signers),
            signer=signer,
            budget=coerced_options({"budget": budget})["budget"],
            remeasuring=_remeasuring(data, remeasuring),
            progress=report,
        )


def _remeasuring(data: Data | None, options: Mapping[str, Any]) -> "Remeasuring | None":
    from analyzer.audit import Remeasuring
    from analyzer.audit_options import DrawOptions
    from analyzer.option_mechanism import alone, options_of

    names = [field.name for field in fields(Remeasuring)]
    if unknown := [name for name in options if name not in names]:
        raise TypeError(f"There is no option {unknown[0]!r}; there are {', '.join(names)}.")
    drawn = {name: options[name] for name in options_of(DrawOptions) if name in options}
    others = {name: value for name, value in options.items() if name not in drawn}
    options = {**coerced_options(others), **coerced_options(drawn, DrawOptions)}
    if data is None:
        asked, plain = Remeasuring(data="", **options), Remeasuring(data="")
        for name in names:
            if getattr(asked, name) != getattr(plain, name):
                raise alone(name, "data")
        return None
    samples = zoo_entry(data) if isinstance(data, str | Path) else None
    if samples is None:
        return Remeasuring(data=given_data(data), **options)
    if samples.data is None:
        raise AnalyzerError(
            f"{data} is a {samples.kind}; `onnx-gap zoo list` shows networks and data."
        )
    given = {name: value for name, value in options.items() if value not in (None, ())}
    known = {"keys": samples.keys, "classes": samples.classes}
    return Remeasuring(data=str(samples.data), **{**known, **given})


def _bundled(path_of: Callable[[str], Path], name: str) -> Path | None:
    """The file that ``zoo:NAME`` in a record means; None for other names, and where it is gone."""
    if not is_zoo_name(name):
        return None
    try:
        return path_of(name)
    except AnalyzerError:
        return None


def _check_numbers(kind: type[Real] | type[Integral], **numbers: object) -> None:
    """Refuse what is no single number of a kind.

    Raises:
        TypeError: one is something else.
    """
    for name, value in numbers.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = "a number" if kind is Real else "a whole number"
            raise TypeError(f"{name} is of type {type(value).__name__}; it takes {wanted}.")


def _site_options(**given: Any) -> "SiteOptions":
    """The site that is asked for.

    Raises:
        TypeError: a value is of another type than the parameter takes.
        AnalyzerError: one cannot be, or does nothing without another one.
    """
    from analyzer.audit_options import SiteOptions
    from analyzer.option_mechanism import refuse_alone

    found = coerced_options(given, SiteOptions)
    refuse_alone(SiteOptions, found)
    return SiteOptions(**found)


def _budgets(change: BudgetChange) -> "Budgets":
    from analyzer.input_budgets import DEFAULT_BUDGETS

    return DEFAULT_BUDGETS.raised(coerced_options({"budget": change})["budget"])


def _folder(name: str, audit: "str | Path | Audit") -> Path:
    if isinstance(audit, Audit):
        return audit.folder
    check_are_paths(**{name: audit})
    return Path(audit)


def _warn(sentence: str) -> None:
    warnings.warn(printable(sentence), AuditWarning, stacklevel=3)
