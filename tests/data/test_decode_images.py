import base64
import io
import struct
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from made_up_images import png_chunk, tiff_of_strips
from PIL import Image

from analyzer.data import from_arrays, open_data, thumbnail
from analyzer.data.decode_images import decode
from analyzer.errors import DataError


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "PPM", "WEBP", "JPEG2000"])
def test_formats(format, picture, encoded):
    array = picture(9, 7)
    options = {"lossless": True} if format == "WEBP" else {}
    image = decode(encoded(array, format, **options))
    assert image.mode == "RGB"
    if format != "GIF":
        assert np.array_equal(np.asarray(image), array)


def test_gray_stays_gray(picture, encoded):
    array = picture(9, 7, 1)
    image = decode(encoded(array))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), array)


def test_jpeg_is_what_pillow_makes_of_it(picture, encoded):
    data = encoded(picture(16, 16), "JPEG")
    assert np.array_equal(np.asarray(decode(data)), np.asarray(Image.open(io.BytesIO(data))))


def test_alpha_is_dropped_not_composited(picture, encoded):
    array = picture(9, 7, 4)
    array[..., 3] = 0
    assert np.array_equal(np.asarray(decode(encoded(array))), array[..., :3])
    gray = Image.fromarray(array[..., 0]).convert("LA")
    assert np.array_equal(np.asarray(decode(encoded(gray))), array[..., 0])


def test_palettes_are_looked_up(picture, encoded):
    image = Image.fromarray(picture(9, 7)).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(decode(encoded(image))), expected)
    with warnings.catch_warnings(action="error"):
        decoded = decode(encoded(image, transparency=bytes(range(16))))
    assert np.array_equal(np.asarray(decoded), expected)


def test_black_and_white(encoded):
    array = np.eye(8, dtype=bool)
    assert np.array_equal(np.asarray(decode(encoded(array))), array * np.uint8(255))


def test_16_bit_gray_keeps_its_high_byte(encoded):
    array = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16) + 77
    for format in ("PNG", "TIFF"):
        assert np.array_equal(np.asarray(decode(encoded(array, format))), array >> 8)


def test_cmyk(picture, encoded):
    image = Image.fromarray(picture(16, 16)).convert("CMYK")
    for format in ("TIFF", "JPEG"):
        data = encoded(image, format)
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.array_equal(np.asarray(decode(data)), expected)


def test_floating_point_pixels_are_refused(encoded):
    with pytest.raises(DataError, match="floating-point"):
        decode(encoded(np.zeros((4, 4), np.float32), "TIFF"))


def test_exif_rotation_only_where_asked_for(picture, encoded):
    array = picture(9, 7)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    data = encoded(array, exif=exif)
    assert np.array_equal(np.asarray(decode(data)), array)
    assert np.array_equal(np.asarray(decode(data, exif=True)), np.rot90(array, -1))
    exif[0x0112] = 1
    assert np.array_equal(np.asarray(decode(encoded(array, "TIFF", exif=exif))), array)
    exif[0x0112] = 6  # which Pillow turns whatever is asked for
    data = encoded(array, "TIFF", exif=exif)
    with pytest.raises(DataError, match=r"orientation tag is 6, .*rotated by EXIF if training did"):
        decode(data)
    assert np.array_equal(np.asarray(decode(data, exif=True)), np.rot90(array, -1))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_truncated_files_are_errors(format, share, picture, encoded):
    data = encoded(picture(40, 40), format)
    with pytest.raises(DataError):
        decode(data[: int(share * len(data))])


@pytest.mark.parametrize("data", [b"", b"no image at all", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_other_files_are_errors(data):
    with pytest.raises(DataError, match="not an image of a known format"):
        decode(data)


def test_formats_that_start_programs_are_not_read(picture, encoded):
    data = encoded(picture(8, 8), "EPS")
    with pytest.raises(DataError, match="not an image of a known format"):
        decode(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damage_of_any_kind_is_a_data_error(picture, encoded):
    generator = np.random.default_rng(0)
    for format in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"):
        data = np.frombuffer(encoded(picture(24, 24), format), np.uint8)
        for _ in range(60):
            damaged = data.copy()
            spots = generator.integers(0, len(data), 4)
            damaged[spots] = generator.integers(0, 256, 4)
            with suppress(DataError):
                assert decode(damaged.tobytes()).mode in ("L", "RGB")


def opened(png: bytes) -> Image.Image:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return Image.open(io.BytesIO(png))


def source(images):
    return from_arrays(images, np.zeros(len(images), np.int64), source="x", kind="npz")


@pytest.mark.parametrize("shape", [(8, 8), (30, 20), (8, 8, 3), (40, 30, 4)])
def test_small_images_keep_their_pixels(shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    found = np.asarray(opened(thumbnail(source(images).read(1))))
    np.testing.assert_array_equal(found, images[1] if len(shape) == 2 else images[1, ..., :3])


@pytest.mark.parametrize("shape", [(300, 200, 3), (200, 300)])
def test_large_images_become_small_files(shape):
    ramp = np.linspace(0, 255, np.prod(shape)).reshape(1, *shape).astype(np.uint8)
    png = thumbnail(source(ramp).read(0))
    image = opened(png)
    assert max(image.size) == 96
    assert image.width / image.height == pytest.approx(shape[1] / shape[0], abs=0.02)
    assert len(png) < 12_000


def test_floats_are_no_images():
    assert thumbnail(source(np.zeros((1, 3, 8, 8), np.float32)).read(0)) is None


def test_a_sample_that_cannot_be_read_is_named(tmp_path):
    for number in range(2):
        folder = tmp_path / f"class{number}"
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / "a.png")
    found = open_data(tmp_path)
    (tmp_path / "class1" / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"class1/a\.png"):
        thumbnail(found.read(1))


def test_16_bit_images_that_would_be_black_are_refused(encoded):
    with pytest.raises(DataError, match="16-bit pixels are all from 0 to 200 of 65535"):
        decode(encoded(np.full((4, 4), 200, np.uint16)))
    assert not np.asarray(decode(encoded(np.zeros((4, 4), np.uint16)))).any()
    with pytest.raises(DataError, match="whole numbers of unknown range"):
        decode(encoded(np.full((4, 4), 70_000, np.int32), "TIFF"))


@pytest.mark.parametrize("greatest", [1, 3, 100, 254, 255, 256, 1023, 4095, 60_000, 65_534, 65_535])
@pytest.mark.parametrize(("kind", "channels"), [(b"P5", 1), (b"P6", 3)])
def test_pnm_of_any_greatest_value_is_what_pillow_makes_of_it(kind, channels, greatest):
    values = np.random.default_rng(0).integers(0, greatest + 2, (9, 7, channels))
    if greatest in (1, 255, 65_535):
        values = values.clip(max=greatest)
    stored = values.astype("u1" if greatest < 256 else ">u2").tobytes()
    data = kind + b" 7 9 %d\n" % greatest + stored
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image)
    found = np.asarray(decode(data))
    if expected.dtype != np.uint8:  # gray of 16 bits
        expected = expected >> 8
    assert np.array_equal(found, expected)
    with pytest.raises(DataError, match="damaged image"):
        decode(data[:-1])


def test_signed_bytes_are_refused():
    with pytest.raises(DataError, match="its pixels are signed numbers"):
        decode(tiff_of_strips(50, sample_format=2))


def png_of_16_bits(values, color):
    """A PNG file of values (H, W, C), which Pillow cannot write."""

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def ppm_of_16_bits(values, color):
    height, width = values.shape[:2]
    return b"P6 %d %d 65535\n" % (width, height) + values.astype(">u2").tobytes()


def tiff_of_16_bits(values, color, planar=1):
    """An uncompressed TIFF file; in planes of their own, values are (C, H, W)."""
    channels, height, width = (values if planar == 2 else np.moveaxis(values, 2, 0)).shape
    start = 8 + 2 + 10 * 12 + 4
    bits, parts = start, start + 2 * channels
    pixels = parts + 8 * channels
    size = 2 * height * width
    if planar == 2:
        strips = (4, channels, parts), (4, channels, parts + 4 * channels)
        places = [*(pixels + size * i for i in range(channels)), *[size] * channels]
    else:
        strips = (4, 1, pixels), (4, 1, size * channels)
        places = [0] * (2 * channels)
    fields = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, channels, bits),
        (259, 3, 1, 1),
        (262, 3, 1, color),
        (273, *strips[0]),
        (277, 3, 1, channels),
        (278, 3, 1, height),
        (279, *strips[1]),
        (284, 3, 1, planar),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(fields))
    head += b"".join(struct.pack("<HHII", *field) for field in fields) + bytes(4)
    head += struct.pack(f"<{channels}H{2 * channels}I", *[16] * channels, *places)
    return head + values.astype("<u2").tobytes()


def gray_tiff(values, bits, *, white_is_zero):
    """An uncompressed TIFF file of gray values (H, W) of 12 or 16 bits."""
    height, width = values.shape
    if bits == 12:
        digits = (values.reshape(-1, 1) >> np.arange(11, -1, -1)) & 1
        content = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    else:
        content = values.astype("<u2").tobytes()
    said = {256: width, 257: height, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 0}
    said |= {277: 1, 278: height, 279: len(content)}
    said[273] = 8 + 2 + 12 * len(said) + 4
    fields = b"".join(struct.pack("<HHII", name, 4, 1, value) for name, value in said.items())
    return b"II*\0" + struct.pack("<IH", 8, len(said)) + fields + bytes(4) + content


@pytest.mark.parametrize(("bits", "white_is_zero"), [(12, False), (16, False), (16, True)])
def test_gray_tiff_of_more_than_8_bits_keeps_its_high_bits(bits, white_is_zero):
    values = np.random.default_rng(0).integers(0, 1 << bits, (6, 10))
    image = np.asarray(decode(gray_tiff(values, bits, white_is_zero=white_is_zero)))
    wanted = values >> (bits - 8)
    assert np.array_equal(image, 255 - wanted if white_is_zero else wanted)
    dark = np.full((6, 10), 3) if not white_is_zero else np.full((6, 10), (1 << bits) - 4)
    with pytest.raises(DataError, match=f"{bits}-bit pixels are all from 0 to 3 of"):
        decode(gray_tiff(dark, bits, white_is_zero=white_is_zero))


@pytest.mark.parametrize(
    ("write", "channels", "color"),
    [
        (png_of_16_bits, 2, 4),
        (png_of_16_bits, 3, 2),
        (png_of_16_bits, 4, 6),
        (ppm_of_16_bits, 3, 0),
        (tiff_of_16_bits, 3, 2),
        (tiff_of_16_bits, 4, 5),  # CMYK, where nothing is white
    ],
)
def test_16_bit_colors_that_would_be_black_are_refused(write, channels, color):
    values = np.random.default_rng(0).integers(0, 256, (8, 8, channels))
    if write is png_of_16_bits and channels in (2, 4):
        values[..., -1] = 65535  # alpha, which is dropped
    with pytest.raises(DataError, match="16-bit pixels are all 0 or 1 of 255 as 8 bits"):
        decode(write(values, color))
    values[0, 0, 0] = 40_000
    assert decode(write(values, color)).size == (8, 8)


def test_16_bit_colors_in_planes_are_refused():
    values = np.random.default_rng(0).integers(0, 65536, (3, 8, 8))
    together = np.asarray(decode(tiff_of_16_bits(np.moveaxis(values, 0, 2), 2)))
    np.testing.assert_array_equal(together, np.moveaxis(values, 0, 2) >> 8)
    with pytest.raises(DataError, match="channels lie in planes of their own"):
        decode(tiff_of_16_bits(values, 2, planar=2))


JPEG2000_OF_16_BITS = (  # 64 × 64, RGB, of values 0 and 40, which Pillow cannot write
    "c-muNVBpCLP*C9IYUg5LU=T?wsVvAUFj4@r8KAT-kj?<oVwo8!ML^mCjG6h_L24NIlk;<m7{N>d1_s7rpyK5J{{I"
    "6R^ub~dPz(d8d}e+|MhN;J#J~d-U}RurVPRnWAHyK*(9qE_0U7;IVNhjYbS_FwEJ;mKNUBuuFG$Vv3UGB-C`&CW&"
    "dkqKFw!&CGyXq;feUQ-8=yIp&;KzH;b>a9h69tafZ^vM28Q}0^;j8)8~D{4Oy^|o$HP9-z}#}~;es`tON0sW7}D0"
    "c-2Z6%!yYf^7{d`WuX*#XUH`+_(z2hh!2g>7Jma7g"
)


def test_16_bit_jpeg_2000_that_would_be_black_is_refused():
    data = zlib.decompress(base64.b85decode(JPEG2000_OF_16_BITS))
    with pytest.raises(DataError, match="16-bit pixels are all 0 or 1 of 255 as 8 bits"):
        decode(data)
