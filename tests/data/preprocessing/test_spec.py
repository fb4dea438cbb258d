import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.data.preprocessing.spec import Crop, Resize, timm_geometry

edges = st.integers(1, 2000)


@pytest.mark.parametrize(
    ("resize", "image", "expected"),
    [
        (Resize("shortest", (256, 256)), (375, 500), (256, 341)),  # 341.33 is truncated
        (Resize("shortest", (256, 256)), (500, 375), (341, 256)),
        (Resize("shortest", (100, 100)), (300, 299), (100, 100)),
        (Resize("exact", (20, 30)), (375, 500), (20, 30)),
        (Resize("cover", (20, 30)), (100, 100), (30, 30)),
        (Resize("inside", (20, 30)), (100, 100), (20, 20)),
    ],
)
def test_sizes_by_hand(resize, image, expected):
    assert resize.apply(*image) == expected


@given(edges, edges, st.integers(1, 600))
def test_shortest_edge_becomes_the_size(height, width, size):
    resized = Resize("shortest", (size, size)).apply(height, width)
    assert min(resized) == size
    long, short = max(height, width), min(height, width)
    assert size * long / short - 1 < max(resized) <= size * long / short
    assert (resized[0] <= resized[1]) == (height <= width) or resized[0] == resized[1]


@given(edges, edges, st.integers(1, 600), st.integers(1, 600))
def test_cover_covers_and_inside_lies_inside(height, width, target_height, target_width):
    target = target_height, target_width
    cover = Resize("cover", target).apply(height, width)
    inside = Resize("inside", target).apply(height, width)
    assert cover[0] >= target_height
    assert cover[1] >= target_width
    assert target_height == cover[0] or target_width == cover[1]
    assert inside[0] <= target_height
    assert inside[1] <= target_width


@given(edges, edges, edges, edges, st.sampled_from(["half-even", "down"]))
def test_crops_lie_in_the_middle(height, width, crop_height, crop_width, rounding):
    top, left = Crop((crop_height, crop_width), rounding).box(height, width)
    bottom, right = height - crop_height - top, width - crop_width - left
    assert abs(top - bottom) <= 1
    assert abs(left - right) <= 1
    # Where the border is odd, one pixel more of it lies below, or above.
    assert (top < 0) == (crop_height > height + (rounding == "half-even"))


def test_odd_margins():
    assert Crop((4, 4)).box(7, 9) == (2, 2)  # 1.5 and 2.5, half to even as torchvision
    assert Crop((4, 4), "down").box(7, 9) == (1, 2)
    assert Crop((7, 8)).box(4, 4) == (-1, -2)
    assert Crop((7, 8), "down").box(4, 4) == (-2, -2)  # Hugging Face pads more above and left


@pytest.mark.parametrize(
    ("size", "crop_pct", "mode", "resize"),
    [
        ((224, 224), 0.875, "center", Resize("shortest", (256, 256))),
        ((299, 299), 0.875, "center", Resize("shortest", (341, 341))),
        ((96, 160), 0.9, "center", Resize("cover", (106, 177))),
        ((224, 224), 1.0, "squash", Resize("exact", (224, 224))),
        ((224, 224), 0.9, "border", Resize("inside", (248, 248))),
    ],
)
def test_timm_geometry(size, crop_pct, mode, resize):
    fill = (1, 2, 3)
    crop = Crop(size, fill=fill if mode == "border" else (0,))
    assert timm_geometry(size, crop_pct, mode, fill) == (resize, crop)
