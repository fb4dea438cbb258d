"""``onnx-gap inspect``"""

import json

import click

from analyzer.cli.options import json_option, site_options
from analyzer.cli.requests import network_path
from analyzer.cli.terminal import warn


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
    outline = surgery.outline(network, chosen, output=output)
    if as_json:
        click.echo(json.dumps(outline.to_dict(), indent=2, ensure_ascii=False))
    else:
        for line in _lines(model, outline):
            click.echo(line)
    for sentence in (*chosen.warnings, *outline.warnings):
        warn(sentence)
