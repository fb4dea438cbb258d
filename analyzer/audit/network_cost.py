"""The outline of a network with its cost, for which an image is run where shapes are open."""

from operator import index

import numpy as np

from analyzer import runtime, surgery
from analyzer.common_types import Site
from analyzer.data.preprocessing.spec import LONGEST_EDGE
from analyzer.errors import ModelError, parameter
from analyzer.output_files import scratch_folder

__all__ = ["outline_with_cost"]

_PLANE = (224, 224)


def outline_with_cost(
    network: surgery.Network,
    site: Site,
    output: str | None = None,
    *,
    img_size: tuple[int, int] | None = None,
) -> surgery.Outline:
    """What ``inspect`` shows of a network.

    Args:
        network: the network.
        site: what is masked.
        output: output with the scores, if there are several.
        img_size: height and width of the image that is run where the network leaves its shapes
            open; 224 × 224 by default.

    Returns:
        The outline; its cost is None where no image could be run.

    Raises:
        ModelError, SiteError: as :func:`analyzer.surgery.outline_network`.
    """
    found = surgery.outline_network(network, site, output)
    wrong = ModelError(
        f"{parameter('img_size')} cannot be {img_size}; give a height and a width of up to "
        f"{LONGEST_EDGE:,} pixels."
    )
    try:
        height, width = map(index, _PLANE if img_size is None else img_size)
    except (TypeError, ValueError):
        raise wrong from None
    edges = height, width
    if not all(0 < edge <= LONGEST_EDGE for edge in edges):
        raise wrong
    if None not in (found.prefix_operations, found.suffix_operations):
        if img_size is not None:
            raise ModelError(
                f"{parameter('img_size')} does nothing here: {network.path} fixes the size of its "
                "images. Leave it out."
            )
        return found
    with scratch_folder() as folder:
        try:
            probe = surgery.write_shape_probe(
                network, site, folder / "probe.onnx", output, plane=edges
            )
            session = runtime.open_session(
                probe.path, "cpu", custom_ops=network.custom_ops, optimized=False
            )
            feeds = {name: np.zeros(*like) for name, like in probe.images.items()}
            arrays = session.run(feeds, probe.outputs)
        except (ModelError, runtime.OutOfMemory):  # then the cost stays unknown
            return found
    shapes = {name: array.shape for name, array in zip(probe.outputs, arrays, strict=True)}
    image = next(iter(probe.images.values()))[0]
    return surgery.outline_network(network, site, output, sizes=shapes, image=image[1:])
