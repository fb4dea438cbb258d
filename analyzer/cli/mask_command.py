"""``onnx-gap mask``"""

from pathlib import Path

import click

from analyzer.cli.click_options import (
    FILE_OR_ZOO,
    Command,
    budget_options,
    exit_codes,
    out_file,
    site_options,
)
from analyzer.cli.terminal import show, warn
from analyzer.input_budgets import DEFAULT_BUDGETS
from analyzer.option_mechanism import refuse_alone
from analyzer.zoo_names import network_path


@click.command(
    "mask",
    cls=Command,
    short_help="Write a network with a channel mask as an extra input.",
    epilog=exit_codes(),
)
@click.argument("model", type=FILE_OR_ZOO)
@out_file("The ONNX file to write.", text=False)
@site_options
@budget_options
def command(
    model: str,
    out: Path,
    site: str | None,
    at: str | None,
    axis: int | None,
    output: str | None,
    custom_ops: Path | None,
    budget: tuple[tuple[str, int | None], ...],
) -> None:
    """Write MODEL (an ONNX file, or zoo:NAME) with a channel mask as an extra input.

    The input channel_mask, float [1 or N, M], is 1 where a channel is kept and 0 where it is
    removed. It has a default of ones, so the file is a drop-in for the original.

    \b
    Examples:
      onnx-gap mask model.onnx -o masked.onnx
      onnx-gap mask model.onnx --site /layer4/conv2/Conv --at conv -o masked.onnx
    """
    from analyzer import surgery
    from analyzer.audit import refuse_to_replace
    from analyzer.audit_options import SiteOptions

    refuse_to_replace({"out": out}, [custom_ops], [out.parent])
    refuse_alone(SiteOptions, {"site": site, "at": at, "axis": axis})
    network = surgery.load_network(
        network_path(model), custom_ops=custom_ops, budgets=DEFAULT_BUDGETS.raised(budget)
    )
    found = surgery.find_site(network, site, at=at, axis=axis, output=output)
    surgery.write_masked(network, found, out)
    show(f"{out}: channel_mask [1 or N, {found.channels}] on {found.tensor}")
    for sentence in found.warnings:
        warn(sentence)
