"""``onnx-gap inspect``"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzer.cli.options import json_option, site_options
from analyzer.cli.terminal import print_facts, print_json, print_table, warn
from analyzer.zoo_names import network_path

if TYPE_CHECKING:
    from analyzer.records import Site
    from analyzer.surgery import Outline


@click.command("inspect", short_help="Show what could be masked in a network.")
@click.argument("model")
@json_option
@site_options
def command(
    model: str,
    as_json: bool,
    site: str | None,
    at: str,
    axis: int | None,
    output: str | None,
    custom_ops: Path | None,
    graph_budget: float | None,
) -> None:
    """Show what could be masked in MODEL, the default site, its M, and what a sweep would cost.

    MODEL is an ONNX file, or zoo:NAME. The site in force is marked with ▶ in the list.

    \b
    Examples:
      onnx-gap inspect model.onnx
      onnx-gap inspect model.onnx --site /features/28/Conv --at conv
      onnx-gap inspect zoo:digits-c0 --json
    """
    from analyzer import surgery
    from analyzer.errors import SiteError

    network = surgery.load_network(
        network_path(model), custom_ops=custom_ops, graph_budget=graph_budget
    )
    try:
        chosen = surgery.find_site(network, site, at=at, axis=axis, output=output)
    except SiteError:
        worth_choosing = surgery.candidates(network)
        if worth_choosing and not as_json:
            _print_sites(worth_choosing)  # the way out that the error names
        raise
    found = surgery.outline_network(network, chosen, output=output)
    if as_json:
        result = asdict(found)
        result["info"]["path"] = model
        print_json(result)
    else:
        print_facts(list(_facts(model, found)))
        click.echo()
        _print_sites(found.candidates, chosen.tensor)
    for sentence in chosen.warnings:
        warn(sentence)


def _print_sites(sites: "Sequence[Site]", chosen: str | None = None) -> None:
    print_table(
        ("", "tensor (--site)", "convolution (--site)", "operator", "M", "shape"),
        [
            (
                "▶" if site.tensor == chosen else "",
                site.tensor,
                site.convolution or "",
                site.operator,
                str(site.channels),
                _shape(site.shape),
            )
            for site in sites
        ],
    )


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
        yield "cost", "not known: the network leaves shapes open"
    else:
        rows = 2 * (site.channels + 1)
        yield (
            "cost",
            f"{_count(prefix)} multiply-adds a sample before the cut, {_count(suffix)} a row",
        )
        yield "", f"at most {rows} rows a sample: {_count(prefix + rows * suffix)} multiply-adds"


def _count(number: int) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _shape(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
