"""Cutting a network at its site into a prefix, run once per sample, and a suffix, run per row."""

import os
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.errors import ModelError, SiteError
from analyzer.records import Answer, Cut, Site
from analyzer.surgery.bare import bare
from analyzer.surgery.blame import blames_file
from analyzer.surgery.halves import make_prefix, make_suffix
from analyzer.surgery.linear import write_linear_head
from analyzer.surgery.network import Network
from analyzer.surgery.outputs import answer, make_scores
from analyzer.surgery.plan import Plan, make_plan
from analyzer.surgery.writing import save

__all__ = ["cut", "planned"]


@blames_file
def cut(
    network: Network,
    site: Site,
    folder: str | os.PathLike[str],
    *,
    output: str | None = None,
) -> Cut:
    """Write ``prefix.onnx`` and ``suffix.onnx`` to ``folder``.

    Suffix after prefix, with a mask, gives the same scores to the bit as the whole network
    with that mask at the site; see :class:`analyzer.records.Cut` for what goes where.

    Args:
        network: The network to cut.
        site: Where it is masked.
        folder: An existing folder.
        output: The output that holds the class scores, where the network has several.

    Raises:
        ModelError: The class scores cannot be told among the outputs, or the folder is missing.
        SiteError: The scores do not depend on the site.
        OutputError: the folder is read-only or full.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"The folder {folder} does not exist. Create it first.")
    model, plan, batch = planned(network, site, output=output)
    prefix_path, suffix_path = folder / "prefix.onnx", folder / "suffix.onnx"
    save(make_prefix(model, plan), prefix_path)
    save(make_suffix(model, plan), suffix_path)
    return Cut(
        prefix=prefix_path,
        suffix=suffix_path,
        site=site,
        tensor=plan.tensor,
        features=plan.features,
        side=plan.side_names,
        shared=plan.shared_names,
        attribute=plan.attribute,
        active=plan.active,
        mask=plan.mask,
        scores=plan.scores,
        batch=batch,
        head=write_linear_head(model, plan, folder),
        custom_ops=network.custom_ops,
        warnings=_warnings(network, answer(network, output), batch),
    )


def planned(
    network: Network, site: Site, *, output: str | None = None
) -> tuple[ir.Model, Plan, int | None]:
    """The network freed of its batch size and of all but its scores, and where to cut it.

    Returns:
        The model, the plan, and the batch size that the network could not be freed from.

    Raises:
        ModelError, SiteError: as :func:`cut`.
    """
    model, images, batch = bare(network, output)
    name = model.graph.outputs[0].name
    make_scores(model.graph)
    passes.RemoveUnusedNodesPass()(model)
    plan = make_plan(model.graph, site, images, batch)
    if plan is None:
        raise SiteError(
            f"The output {name} of {network.path} does not depend on the tensor "
            f"{site.tensor}, so masking it changes nothing. Choose another --site or --output."
        )
    return model, plan, batch


def _warnings(network: Network, found: Answer, batch: int | None) -> tuple[str, ...]:
    warnings = []
    others = [v.name for v in network.info.outputs if v.name != found.output]
    if found.kind == "logit":
        warnings.append(
            f"The network has a single score; {found.output} is taken for a logit, so class 1 is "
            "where it is above 0."
        )
    if others:
        warnings.append(
            f"The network has several outputs; {found.output} is taken for the class scores. "
            f"--output chooses another: {', '.join(others)}."
        )
    if batch is not None and batch > 1:
        warnings.append(
            f"The network is fixed to batches of {batch} images and could not be freed, so it "
            "runs at that size. Export it with a dynamic batch axis for speed."
        )
    elif batch == 1:
        warnings.append(
            "The network is fixed to one image at a time and could not be freed, so it runs "
            "that way. Export it with a dynamic batch axis for speed."
        )
    return tuple(warnings)
