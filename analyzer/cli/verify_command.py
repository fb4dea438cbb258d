"""``onnx-gap verify``"""

from pathlib import Path
from typing import Any

import click

from analyzer.cli.click_options import (
    FILE_OR_ZOO,
    PATH,
    Command,
    budget_options,
    exit_codes,
    json_option,
    progress_option,
    remeasuring_options,
)
from analyzer.cli.terminal import print_json, show, show_progress


@click.command(
    "verify",
    cls=Command,
    short_help="Check that an audit folder is complete and correct.",
    epilog=exit_codes({0: "done, and every check passed", 1: "a check failed"}),
)
@click.argument("folder", type=PATH)
@click.option(
    "--model",
    type=FILE_OR_ZOO,
    metavar="FILE|zoo:NAME",
    help="The network.  [default: where the audit says it was]",
)
@click.option(
    "--gap-model",
    type=FILE_OR_ZOO,
    metavar="FILE|zoo:NAME",
    help="The gap model.  [default: likewise]",
)
@click.option("--signature", type=PATH, metavar="FILE", help="A signature of manifest.json.")
@click.option(
    "--allowed-signers", type=PATH, metavar="FILE", help="Who may sign, as ssh-keygen reads it."
)
@click.option(
    "--signer", metavar="IDENTITY", help="Who must have signed.  [default: any of those who may]"
)
@click.option(
    "--data",
    type=FILE_OR_ZOO,
    metavar="DATA|zoo:NAME",
    help="The training data: with them the counts are measured again, in drawn parts.",
)
@remeasuring_options
@budget_options
@progress_option
@json_option
def command(
    folder: Path,
    model: str | None,
    gap_model: str | None,
    signature: Path | None,
    allowed_signers: Path | None,
    signer: str | None,
    budget: tuple[tuple[str, int | None], ...],
    shown: str,
    as_json: bool,
    **remeasuring: Any,
) -> int:
    """Check that the audit in FOLDER is whole and that its numbers follow from its counts.

    A network or gap model that is no longer where the audit found it is not a failure; the check
    is named as not made. With --data the counts themselves are held against what the network
    gives: every sample with nothing removed, the order of the units, and drawn cells of the
    curves.

    \b
    Examples:
      onnx-gap verify audit
      onnx-gap verify audit --model model.onnx --gap-model zoo:digits
      onnx-gap verify audit --model model.onnx --data train/
      onnx-gap verify audit --signature audit.sig --allowed-signers signers
    """
    from analyzer.api import verify_audit

    with show_progress(shown) as progress:
        found = verify_audit(
            folder,
            model=model,
            gap_model=gap_model,
            signature=signature,
            allowed_signers=allowed_signers,
            signer=signer,
            budget=dict(budget),
            progress=progress,
            **remeasuring,
        )
    if as_json:
        print_json(found.to_dict())
    else:
        for check in found.checks:
            mark = ("ok    ", "green") if check.passed else ("FAILED", "red")
            show(f"{check.name}: {check.sentence}", *mark)
        for sentence in found.not_checked:
            show(sentence, "      ")
        if found.drawn is not None:
            show(found.drawn.sentence, "      ")
    return 0 if found.passed else 1
