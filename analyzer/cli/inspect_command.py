"""``onnx-gap inspect``"""

import json
from dataclasses import asdict
from typing import Any

import click

from analyzer.cli.options import json_option, site_options
from analyzer.cli.requests import network_path
from analyzer.cli.terminal import table, warn


@click.command("inspect")
@click.argument("model")
@site_options
@json_option
def command(
    model: str, site: str | None, at: str, axis: int | None, output: str | None, as_json: bool
) -> None:
    """Show what could be masked in MODEL, the default site, its M and what a sweep would cost.

    \b
    Examples:
      onnx-gap inspect model.onnx
      onnx-gap inspect model.onnx --site /features/28/Conv --at conv
      onnx-gap inspect zoo:digits-c0 --json
    """
    from analyzer import surgery

    network = surgery.load(network_path(model))
    chosen = surgery.find_site(network, site, at=at, axis=axis, output=output)
    found = surgery.outline(network, chosen, output=output)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False, default=str))
    else:
        _show(model, found)
    for sentence in chosen.warnings:
        warn(sentence)


def _show(model: str, found: Any) -> None:
    info, site = found.info, found.site
    facts = [
        ("network", f"{model}, {info.bytes / 1e6:.1f} MB, opset {info.opset}, {info.producer}"),
        *(("input", f"{item.name} {_shape(item.shape)} {item.dtype}") for item in info.inputs),
        *(("output", f"{item.name} {_shape(item.shape)} {item.dtype}") for item in info.outputs),
        ("site", f"{site.tensor} {_shape(site.shape)}: M = {site.channels} on axis {site.axis}"),
        ("", f"{site.operator} after {site.convolution or 'no convolution'}"),
        ("cut", f"{found.cut} {_sunk(found.passed)}"),
        ("side inputs", ", ".join(found.side) or "none"),
    ]
    if found.batch is not None:
        facts.append(("batch", f"fixed to {found.batch}"))
    facts += _costs(found)
    for name, value in facts:
        click.echo(f"{click.style(f'{name:<12}', bold=True)}{value}")
    click.echo()
    rows = [
        (
            "▶" if item.tensor == site.tensor else "",
            item.tensor,
            item.convolution or "",
            item.operator,
            str(item.channels),
            _shape(item.shape),
        )
        for item in found.candidates
    ]
    table(("", "tensor (--site)", "convolution (--site)", "operator", "M", "shape"), rows)


def _sunk(passed: tuple[str, ...]) -> str:
    if not passed:
        return "(the site itself)"
    return f"(the mask sinks past {', '.join(passed)})"


def _costs(found: Any) -> list[tuple[str, str]]:
    prefix, suffix, units = found.prefix_operations, found.suffix_operations, found.site.channels
    if prefix is None or suffix is None:
        return [("cost", "not known: the network leaves shapes open")]
    rows = 2 * (units + 1)
    return [
        ("cost", f"{_count(prefix)} multiply-adds a sample before the cut, {_count(suffix)} a row"),
        ("", f"at most {rows} rows a sample: {_count(prefix + rows * suffix)} multiply-adds"),
    ]


def _count(number: int) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _shape(shape: tuple) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
