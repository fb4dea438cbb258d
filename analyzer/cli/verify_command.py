"""``onnx-gap verify``"""

from pathlib import Path

import click

from analyzer.cli.options import PATH, graph_budget_option, json_option
from analyzer.cli.terminal import print_json, show


@click.command("verify", short_help="Check that an audit folder is whole and true.")
@click.argument("folder", type=PATH)
@click.option(
    "--model", metavar="FILE|zoo:NAME", help="The network.  [default: where the audit says it was]"
)
@click.option("--gap-model", metavar="FILE|zoo:NAME", help="The gap model.  [default: likewise]")
@click.option("--signature", type=PATH, metavar="FILE", help="A signature of manifest.json.")
@click.option(
    "--allowed-signers", type=PATH, metavar="FILE", help="Who may sign, as ssh-keygen reads it."
)
@click.option("--signer", metavar="IDENTITY", help="Who must have signed.  [default: any who may]")
@graph_budget_option
@json_option
def command(
    folder: Path,
    model: str | None,
    gap_model: str | None,
    signature: Path | None,
    allowed_signers: Path | None,
    signer: str | None,
    graph_budget: float | None,
    as_json: bool,
) -> int:
    """Check that the audit in FOLDER is whole and that its numbers follow from its counts.

    Exits with 1 if a check fails. A network or gap model that is no longer where the audit
    found it is not a failure; the check is named as not made.

    \b
    Examples:
      onnx-gap verify audit
      onnx-gap verify audit --model model.onnx --gap-model zoo:digits
      onnx-gap verify audit --signature audit.sig --allowed-signers signers
    """
    from analyzer.api import verify_audit

    found = verify_audit(
        folder,
        model=model,
        gap_model=gap_model,
        signature=signature,
        allowed_signers=allowed_signers,
        signer=signer,
        graph_budget=graph_budget,
    )
    if as_json:
        print_json(found.to_dict())
    else:
        for check in found.checks:
            mark = ("ok    ", "green") if check.passed else ("FAILED", "red")
            show(f"{check.name}: {check.sentence}", *mark)
        for sentence in found.not_checked:
            show(sentence, "      ")
    return 0 if found.passed else 1
