"""``onnx-gap inspect``"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzer.cli.click_options import (
    FILE_OR_ZOO,
    Command,
    budget_options,
    exit_codes,
    image_size_option,
    json_option,
    site_options,
)
from analyzer.cli.terminal import print_facts, print_json, print_table, show, warn
from analyzer.input_budgets import DEFAULT_BUDGETS
from analyzer.option_mechanism import refuse_alone
from analyzer.zoo_names import network_path

if TYPE_CHECKING:
    from analyzer.common_types import Site
    from analyzer.surgery import Outline


_SHOWN = 12  # candidates, unless all are asked for
_COLUMNS = 80


@click.command(
    "inspect",
    cls=Command,
    short_help="Show what could be masked in a network.",
    epilog=exit_codes({2: "bad usage or bad input, or a network without a site"}),
)
@click.argument("model", type=FILE_OR_ZOO)
@click.option("--all", "everything", is_flag=True, help="List all candidates, not the last dozen.")
@json_option
@site_options
@budget_options
@image_size_option
def command(
    model: str,
    everything: bool,
    as_json: bool,
    site: str | None,
    at: str | None,
    axis: int | None,
    output: str | None,
    custom_ops: Path | None,
    img_size: tuple[int, int] | None,
    budget: tuple[tuple[str, int | None], ...],
) -> None:
    """Show what could be masked in MODEL, the default site, its M, and what a sweep would cost.

    MODEL is an ONNX file, or zoo:NAME. The site in force is marked with ▶ in the list. Where the
    network leaves its shapes open, an image of --img-size (224 by default) is run to know the cost.

    \b
    Examples:
      onnx-gap inspect model.onnx
      onnx-gap inspect model.onnx --site /features/28/Conv --at conv
      onnx-gap inspect model.onnx --all --img-size 299
      onnx-gap inspect zoo:digits-c0 --json
    """
    from analyzer import surgery
    from analyzer.audit import outline_with_cost
    from analyzer.audit_options import SiteOptions
    from analyzer.errors import SiteError

    refuse_alone(SiteOptions, {"site": site, "at": at, "axis": axis})
    network = surgery.load_network(
        network_path(model), custom_ops=custom_ops, budgets=DEFAULT_BUDGETS.raised(budget)
    )
    try:
        chosen = surgery.find_site(network, site, at=at, axis=axis, output=output)
    except SiteError:
        worth_choosing = surgery.candidates(network)
        if worth_choosing and not as_json:
            _print_sites(worth_choosing, everything)  # the way out that the error names
        raise
    found = outline_with_cost(network, chosen, output, img_size=img_size)
    if as_json:
        result = asdict(found)
        result["info"]["path"] = model
        print_json(result)
    else:
        print_facts(list(_facts(model, found)))
        click.echo()
        _print_sites(found.candidates, everything, chosen.tensor)
    for sentence in chosen.warnings:
        warn(sentence)


def _print_sites(sites: "Sequence[Site]", everything: bool, chosen: str | None = None) -> None:
    """The sites, the last ones unless ``everything`` is asked for, and always the chosen one."""
    first = 0 if everything else len(sites) - _SHOWN
    listed = [s for place, s in enumerate(sites) if place >= first or s.tensor == chosen]
    if len(listed) < len(sites):
        show(f"{len(listed)} of {len(sites)} candidates; --all lists the others")
    cells = [
        (
            "▶" if site.tensor == chosen else "",
            site.tensor,
            site.convolution or "",
            site.operator,
            str(site.channels),
            _shape(site.shape),
        )
        for site in listed
    ]
    header = ("", "tensor (--site)", "convolution (--site)", "operator", "M", "shape")
    columns = zip(header, *cells, strict=True)
    if sum(max(map(len, column)) + 2 for column in columns) - 2 <= _COLUMNS:
        print_table(header, cells)
        return
    for mark, tensor, convolution, operator, channels, shape in cells:
        show(f"{mark:<2}{tensor}")
        made = f"    {operator}" + (f" after {convolution}" if convolution else "")
        size = f"M = {channels}, {shape}"
        whole = f"{made}, {size}"
        for line in (whole,) if len(whole) <= _COLUMNS else (made, f"    {size}"):
            show(line)


def _facts(model: str, found: "Outline") -> Iterator[tuple[str, str]]:
    info, site = found.info, found.site
    yield (
        "network",
        f"{model}, {info.bytes / 1e6:.1f} MB, opset {info.opset}, "
        f"{info.producer or 'producer not named'}",
    )
    for tensor in info.inputs:
        yield "input", f"{tensor.name} {_shape(tensor.shape)} {tensor.dtype}"
    for tensor in info.outputs:
        yield "output", f"{tensor.name} {_shape(tensor.shape)} {tensor.dtype}"
    yield "site", f"{site.tensor} {_shape(site.shape)}: M = {site.channels} on axis {site.axis}"
    yield "", f"{site.operator} after {site.convolution}" if site.convolution else site.operator
    sinks = f"the mask sinks past {', '.join(found.passed)}" if found.passed else "the site itself"
    yield "cut", f"{found.cut} ({sinks})"
    yield "skip inputs", ", ".join(found.skip_inputs) or "none"
    if found.batch is not None:
        yield "batch", f"fixed to {found.batch}"
    prefix, suffix = found.prefix_operations, found.suffix_operations
    if prefix is None or suffix is None:
        yield "cost", "not known: the network leaves shapes open, and no image could be run"
    else:
        rows = 2 * (site.channels + 1)
        yield (
            "cost",
            f"{_count(prefix)} multiply-adds a sample before the cut, "
            f"{_count(suffix)} an evaluation",
        )
        if found.image is not None:
            yield (
                "",
                f"of an image {_shape(found.image)}, which was run: the network leaves it open",
            )
        total = _count(prefix + rows * suffix)
        yield "", f"at most {rows} evaluations a sample: {total} multiply-adds"


def _count(number: int) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _shape(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
