"""``onnx-gap verify``"""

import json
from pathlib import Path

import click

from analyzer.cli.options import json_option
from analyzer.cli.requests import gap_model_of, network_path


@click.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", help="The ONNX file. [default: where the audit says it was]")
@click.option("--gap-model", metavar="FILE|zoo:NAME", help="Estimate the gap once more with it.")
@json_option
def command(folder: Path, model: str | None, gap_model: str | None, as_json: bool) -> int:
    """Check that the audit in FOLDER is whole and that its numbers follow from its counts.

    Exits with 1 if a check fails.

    \b
    Examples:
      onnx-gap verify audit
      onnx-gap verify audit --model model.onnx --gap-model zoo:digits
    """
    from analyzer.audit import verify

    found = verify(
        folder,
        model=None if model is None else network_path(model),
        gap_model=None if gap_model is None else gap_model_of(gap_model),
    )
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        for check in found.checks:
            mark = (
                click.style("ok    ", fg="green")
                if check.passed
                else click.style("FAILED", fg="red")
            )
            click.echo(f"{mark} {check.name}: {check.sentence}")
        for sentence in found.not_checked:
            click.echo(f"       not checked: {sentence}")
    return 0 if found.passed else 1
