"""What single options make of an image, against the same steps in Pillow and numpy."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from analyzer.data import (
    PreprocessOptions,
    from_arrays,
    read_batches,
    recorded_preprocessing,
    resolve_preprocessing,
)
from analyzer.errors import DataError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(height, width, channels=3):
    """A picture of waves with an edge in it."""
    y, x, c = np.mgrid[:height, :width, :channels]
    values = 128 + 90 * np.sin(x / (2 + c)) * np.cos(y / (3 + c))
    values[height // 3 :, width // 2 :] = 250
    return values.astype(np.uint8).squeeze()


@pytest.fixture
def fed(network_input):
    """fed(pixels, *shape, **options): what the network gets of one image."""

    def feed(pixels, *shape, dtype="float32", **options):
        source = from_arrays(pixels[None], [0], source="data")
        info = network_input("N", *shape, dtype=dtype)
        preprocessing = resolve_preprocessing(source, info, PreprocessOptions(**options))
        (batch,) = read_batches(source, preprocessing, [0], 1)
        json.dumps(preprocessing.to_dict())
        return batch.images[0]

    return feed


def to_tensor(image):
    """torchvision's ToTensor."""
    pixels = np.atleast_3d(np.asarray(image))
    return pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def normalize(tensor, mean, std):
    """torchvision's Normalize."""
    shape = (-1, 1, 1)
    return (tensor - np.float32(mean).reshape(shape)) / np.float32(std).reshape(shape)


def shortest(image, edge):
    """torchvision's Resize(edge): the longer edge is truncated."""
    width, height = image.size
    size = (
        (edge, int(edge * height / width))
        if width <= height
        else (int(edge * width / height), edge)
    )
    return image.resize(size, Image.Resampling.BILINEAR)


def middle(image, height, width):
    """torchvision's CenterCrop of an image that is large enough."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def test_a_border_around_digits(fed):
    """torchvision: Pad(2), ToTensor, Normalize."""
    digit = picture(28, 28, 1)
    by_hand = normalize(to_tensor(np.pad(digit, 2)), [0.1307], [0.3081])
    given = fed(digit, 1, 32, 32, pad=2, mean=(0.1307,), std=(0.3081,))
    assert np.array_equal(given, by_hand)
    assert not np.array_equal(given, fed(digit, 1, 32, 32, mean=(0.1307,), std=(0.3081,)))


@pytest.mark.parametrize(("pad", "fill"), [("3,200", 200), ("3,9,8,7", (9, 8, 7))])
def test_a_border_of_a_color_before_resizing(pad, fill, fed):
    """torchvision: Pad(3, fill), Resize((16, 24)), ToTensor."""
    image = Image.fromarray(picture(17, 21))
    bordered = ImageOps.expand(image, 3, fill if isinstance(fill, tuple) else (fill,) * 3)
    by_hand = to_tensor(bordered.resize((24, 16), Image.Resampling.BILINEAR))
    given = fed(np.asarray(image), 3, 16, 24, pad=pad, resize=(16, 24))
    assert np.array_equal(given, by_hand)


@pytest.mark.parametrize("shape", [(11, 20), (20, 11), (12, 12)])
def test_a_square_before_resizing(shape, fed):
    """Letterboxed: the image in the middle of a square, then Resize."""
    image = Image.fromarray(picture(*shape))
    edge = max(shape)
    square = Image.new("RGB", (edge, edge), (255, 255, 255))
    square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    by_hand = to_tensor(square.resize((8, 8), Image.Resampling.BILINEAR))
    assert np.array_equal(fed(np.asarray(image), 3, 8, 8, pad="square,255"), by_hand)


def test_a_resize_and_a_crop_of_sizes_of_their_own(fed):
    """torchvision: Resize(29), CenterCrop(24), ToTensor, Normalize."""
    image = Image.fromarray(picture(37, 53))
    by_hand = normalize(to_tensor(middle(shortest(image, 29), 24, 24)), IMAGENET_MEAN, IMAGENET_STD)
    options = {"resize": 29, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    assert np.array_equal(fed(np.asarray(image), 3, 24, 24, **options), by_hand)
    of_a_preset = fed(np.asarray(image), 3, 24, 24, preset="imagenet", resize=29)
    assert np.array_equal(of_a_preset, by_hand)


def test_a_crop_without_resizing_pads_what_is_too_small(fed):
    """torchvision: CenterCrop((8, 6)), ToTensor."""
    pixels = picture(5, 9)
    by_hand = to_tensor(np.pad(pixels[:, round(3 / 2) : 8], ((1, 2), (0, 0), (0, 0))))
    assert np.array_equal(fed(pixels, 3, "H", "W", resize="none", img_size=(8, 6)), by_hand)


def test_all_of_an_image_squashed(fed):
    """Keras: load_img(target_size=(16, 16)), then preprocess_input of mode "tf"."""
    image = Image.fromarray(picture(23, 31))
    squashed = np.asarray(image.resize((16, 16), Image.Resampling.NEAREST), np.float32)
    given = fed(
        np.asarray(image), 16, 16, 3, crop_mode="squash", interpolation="nearest",
        mean=0.5, std=0.5,
    )  # fmt: skip
    assert np.allclose(given, squashed / 127.5 - 1, atol=1e-6)


def test_keras_caffe_mode(fed):
    image = Image.fromarray(picture(16, 16))
    bgr = np.asarray(image, np.float32)[..., ::-1] - np.float32([103.939, 116.779, 123.68])
    given = fed(
        np.asarray(image), 16, 16, 3,
        channels="bgr", scale=1, mean=(103.939, 116.779, 123.68),
    )  # fmt: skip
    assert np.array_equal(given, bgr)
    assert np.array_equal(
        fed(np.asarray(image), 16, 16, 3, preset="imagenet-caffe", crop_pct=1), bgr
    )


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_all_of_an_image_with_a_border_of_the_mean(channels, fed):
    """timm's crop mode "border"."""
    image = Image.fromarray(picture(20, 10))
    mean = (0.2, 0.4, 0.6)
    fill = [round(255 * value) for value in (mean if channels == "rgb" else mean[::-1])]
    canvas = Image.new("RGB", (8, 8), tuple(fill))
    canvas.paste(image.resize((4, 8), Image.Resampling.BILINEAR), (2, 0))
    by_hand = to_tensor(np.asarray(canvas)[..., :: 1 if channels == "rgb" else -1])
    by_hand -= np.float32(mean).reshape(3, 1, 1)
    given = fed(np.asarray(image), 3, 8, 8, crop_mode="border", mean=mean, channels=channels)
    assert np.array_equal(given, by_hand)
    assert abs(given[:, 0, 0]).max() < 0.5 / 255 + 1e-6


def test_inverted_before_the_border(fed):
    """torchvision: RandomInvert(p=1), Pad(1), ToTensor."""
    digit = picture(6, 6, 1)
    given = fed(digit, 1, 8, 8, invert=True, pad=1)
    assert np.array_equal(given, to_tensor(np.pad(255 - digit, 1)))


def test_gray_inverted_colors(fed):
    image = Image.fromarray(picture(8, 8))
    given = fed(np.asarray(image), 1, 8, 8, invert=True)
    assert np.array_equal(given, to_tensor(255 - np.asarray(image.convert("L"))))


@pytest.mark.parametrize("size", [(8, 10), (33, 50), (64, 21)])
def test_without_antialiasing(size, fed):
    """tf.image.resize and cv2.resize: two pixels along each axis, whatever the reduction."""
    pixels = picture(40, 50)
    down = np.clip((np.arange(size[0]) + 0.5) * 40 / size[0] - 0.5, 0, 39)
    along = np.clip((np.arange(size[1]) + 0.5) * 50 / size[1] - 0.5, 0, 49)
    planes = []
    for plane in np.moveaxis(pixels.astype(float), -1, 0):
        columns = np.stack([np.interp(down, np.arange(40), column) for column in plane.T], axis=1)
        planes.append([np.interp(along, np.arange(50), row) for row in columns])
    given = fed(pixels, 3, *size, resize=size, antialias=False, scale=1)
    assert abs(given - np.array(planes)).max() <= 0.5 + 1e-3
    smooth = fed(pixels, 3, *size, resize=size, antialias=True, scale=1)
    assert abs(smooth - given).max() > 5


def test_without_antialiasing_as_torch_does(fed):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pixels = picture(40, 50)
    tensor = torch.tensor(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    theirs = torch.nn.functional.interpolate(tensor, (17, 23), mode="bilinear", antialias=False)
    given = fed(pixels, 3, 17, 23, resize=(17, 23), antialias=False, scale=1)
    assert abs(given - theirs[0].numpy()).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pad": "wide"}, "pad=wide is not a number of 1 to 16,384 pixels or the word square"),
        ({"pad": 0}, "^pad=0"),
        ({"pad": "2,256"}, "^pad=2,256"),
        ({"pad": "2,1,2"}, "^pad=2,1,2"),
        ({"pad": "20000"}, "^pad=20000"),
        ({"resize": 0}, "^resize=0 is not a height and width of 1 to 16,384 pixels"),
        ({"resize": "all"}, "^resize=all"),
        ({"resize": (8, 20000)}, "^resize=8x20000"),
        ({"resize": 9, "crop_pct": 0.9}, "resize=9 and crop_pct=0.9 both say"),
        ({"resize": "none", "crop_mode": "squash"}, "resize=none and crop_mode=squash both say"),
        ({"crop_mode": "corner"}, "^crop_mode='corner' is not one of center"),
        ({"antialias": False, "interpolation": "bicubic"}, "antialias=False is for bilinear"),
        ({"img_size": 30}, "30×30"),
    ],
)
def test_what_cannot_be(options, says, fed):
    with pytest.raises(DataError, match=says):
        fed(picture(10, 12), 3, 8, 8, **options)


def test_a_color_around_gray_images(fed):
    with pytest.raises(DataError, match="takes gray images; give pad one pixel value"):
        fed(picture(6, 6, 1), 1, 8, 8, pad="1,9,8,7")


def test_a_square_beyond_the_budget(network_input):
    source = from_arrays(np.zeros((1, 1, 400_000), np.uint8), [0], source="data")
    info = network_input("N", 1, 8, 8)
    preprocessing = resolve_preprocessing(source, info, PreprocessOptions(pad="square"))
    with pytest.raises(DataError, match="would be padded to 400000×400000"):
        list(read_batches(source, preprocessing, [0], 1))


def test_rare_steps_are_in_the_record_where_they_are_done(network_input):
    source = from_arrays(picture(6, 6)[None], [0], source="data")
    info = network_input("N", 3, 8, 8)
    plain = resolve_preprocessing(source, info, PreprocessOptions(scale=1)).to_dict()
    assert not {"pad", "invert", "antialias"} & plain.keys()
    options = PreprocessOptions(pad="square,9", invert=True, antialias=False)
    said = resolve_preprocessing(source, info, options).to_dict()
    assert said["pad"] == {"pixels": 0, "square": True, "fill": [9]}
    assert (said["invert"], said["antialias"]) == (True, False)
    again = recorded_preprocessing(said, source, info, "audit.json")
    assert again.to_dict() == said
    for wrong in ({"fill": [300]}, {"pixels": -1}, {"square": 1}):
        damaged = {**said, "pad": {**said["pad"], **wrong}}
        with pytest.raises(DataError, match=r"data\.preprocessing\.pad"):
            recorded_preprocessing(damaged, source, info, "audit.json")
