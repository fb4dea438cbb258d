import io
import struct

import numpy as np
import pytest
from made_up_images import png_chunk, tiff_of_strips
from PIL import Image, features

from analyzer.data.decode_images import decode
from analyzer.errors import DataError
from analyzer.input_budgets import Budgets


@pytest.mark.parametrize(
    ("format", "mode", "kind"),
    [
        ("JPEG2000", "RGB", "4 times in JPEG 2000"),
        ("WEBP", "RGB", "2 times in WEBP"),
        ("TIFF", "LAB", "2 times in LAB"),
        ("PNG", "I;16", "2 times in 16-bit PNG"),
        ("JPEG", "L", "3 times in a JPEG file of 33 scans"),
        ("PNG", "L", ""),
    ],
)
def test_pixels_that_are_slow_to_decode_count_several_times(format, mode, kind):
    file = io.BytesIO()
    color = {"I;16": 300, "L": 9}.get(mode, (9, 9, 9))
    Image.new(mode, (30, 20), color).save(file, format)
    file.write(b"\xff\xda" * (32 if format == "JPEG" else 0))
    budgets = Budgets(pixels=1000)
    if not kind:
        decode(file.getvalue(), budgets=budgets)
        return
    with pytest.raises(DataError, match=f"it has 600 pixels, which count {kind}, more than"):
        decode(file.getvalue(), budgets=budgets)
    decode(file.getvalue())


def test_arithmetic_coding_counts_more_often(encoded):
    data = encoded(Image.new("RGB", (30, 20)), "JPEG", progressive=True)
    assert data.count(b"\xff\xda") == 10
    decode(data, budgets=Budgets(pixels=1000))
    with pytest.raises(DataError, match="which count 3 times in an arithmetic JPEG file of 10 sc"):
        decode(data.replace(b"\xff\xc2", b"\xff\xca"), budgets=Budgets(pixels=1000))


@pytest.mark.parametrize(("format", "times"), [("JPEG", 1), ("AVIF", 3), ("JPEG2000", 5)])
def test_bytes_count_where_they_are_more_than_pixels(format, times, encoded):
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    data = encoded(noise, format, **({"irreversible": False} if times == 5 else {"quality": 100}))
    decode(data, budgets=Budgets(pixels=times * len(data)))
    says = f"{len(data):,} bytes, which count as {times * len(data):,} pixels in {format}, more"
    with pytest.raises(DataError, match=says):
        decode(data, budgets=Budgets(pixels=times * len(data) - 1))


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1)])
def test_lines_of_few_pixels_count_as_longer_ones(size, encoded):
    data = encoded(Image.new("1", size))
    decode(data)
    shown = " × ".join(f"{max(side, 1000):,}" for side in size)
    with pytest.raises(DataError, match=f"70,000 pixels, which count as {shown}, more than"):
        decode(data, budgets=Budgets(pixels=60_000_000))
    decode(encoded(Image.new("1", (20, 20))), budgets=Budgets(pixels=400))


def test_decompression_bombs_are_refused(encoded, monkeypatch):
    data = encoded(np.zeros((40, 40), np.uint8))
    small = Budgets(pixels=40 * 40 - 1)
    with pytest.raises(DataError, match=r"it has 1,600 pixels, .*budget=pixels=1600$"):
        decode(data, budgets=small)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # Pillow's own refusal says the same
    with pytest.raises(DataError, match=r"it has 1,600 pixels, .*budget=pixels=1600$"):
        decode(data, budgets=Budgets(pixels=40))
    assert decode(data, budgets=Budgets(pixels=1600)).size == (40, 40)


def test_plain_files_of_very_many_comments_are_refused():
    header, pixels = b"P2\n2 1\n255\n", b"7 8\n"
    assert np.asarray(decode(header + b"# drawn\n" * 100 + pixels)).tolist() == [[7, 8]]
    with pytest.raises(DataError, match="2 pixels, which count 50 times in a plain PNM file"):
        decode(header + pixels, budgets=Budgets(pixels=99))
    with pytest.raises(DataError, match="it has 400,000 comments, more than 10,000"):
        decode(header + b"#\n" * 400_000 + pixels)


@pytest.mark.parametrize(
    ("format", "at", "part"),
    [
        ("PNG", 33, png_chunk(b"abCd", b"")),
        ("PNG", 33, png_chunk(b"tEXt", b"a\0b")),
        ("JPEG", 2, b"\xff\xfe\0\x03A"),
        ("JPEG", 2, b"\xff\xe1\0\x08Exif\0\0"),
        ("JPEG", 2, b"\xff"),
        ("JPEG", 20, b"\x01"),
        ("GIF", 19, b"\x21\xfe\x01A\0"),
        ("GIF", 19, b"\x80"),
        ("WEBP", None, b"abcd\x01\0\0\0A\0"),
        ("JPEG2000", 32, b"\0\0\0\x08free"),
        ("JPEG2000", -1, b"\xff\x64\0\x05\0\0A"),
        ("AVIF", None, b"\0\0\0\x08free"),
    ],
)
def test_files_of_very_many_parts_are_refused(format, at, part, encoded):
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    data = encoded(Image.new("P" if format == "GIF" else "L", (8, 8), 7), format)
    if at == -1:  # in its codestream, whose length 0 lets end with the file
        size = data.index(b"jp2c") - 4
        data = data[:size] + bytes(4) + data[size + 4 :]
        at = data.index(b"\xff\x52")
    at = len(data) if at is None else at
    assert np.array_equal(
        np.asarray(decode(data[:at] + 2 * part + data[at:])), np.asarray(decode(data))
    )
    with pytest.raises(DataError, match="more than 100,000 parts beside its pixels"):
        decode(data[:at] + 100_001 * part + data[at:])


@pytest.mark.parametrize("start", [b"P5\n#%b\n", b"P6%b", b"P4\n%b"])
def test_long_headers_are_refused(start):
    end = b"8 1 255\n" if start[1:2] != b"4" else b"8 1\n"
    assert decode(start % (b" " * 90_000) + end + bytes(24)).size == (8, 1)
    with pytest.raises(DataError, match="header does not end within 100,000 bytes"):
        decode(start % (b" " * 110_000) + end + bytes(24))


@pytest.mark.parametrize("form", [{}, {"order": ">"}, {"big": True}])
def test_files_of_very_many_strips_are_refused(form):
    assert np.unique(decode(tiff_of_strips(50, **form))).tolist() == [0x80]
    with pytest.raises(DataError, match="it has 100,001 strips or tiles, more than 100,000"):
        decode(tiff_of_strips(100_001, **form), budgets=Budgets(pixels=1 << 30))


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_padding_of_a_file_without_a_codestream_is_no_parts(encoded):
    data = encoded(Image.new("L", (8, 8), 7), "AVIF")
    padding = bytes(600_000)
    padded = data + struct.pack(">I", 8 + len(padding)) + b"free" + padding
    assert np.array_equal(np.asarray(decode(padded)), np.asarray(decode(data)))


def test_comments_of_very_many_blocks_are_refused(encoded):
    data = encoded(Image.new("L", (8, 8), 9), "GIF")
    start = data.index(b",", 13)
    comment = data[:start] + b"\x21\xfe%b\0" + data[start:]
    assert np.asarray(decode(comment % (b"\x01A" * 50_000))).max() == 9
    with pytest.raises(DataError, match="more than 100,000 parts beside its pixels"):
        decode(comment % (b"\x01A" * 100_000))


def test_tiff_files_of_very_many_tags_or_numbers_are_refused():
    for tags, says in (
        ([(65000, 3, 1, 0)] * 100_001, r"it has 100,011 tags, more than 100,000"),
        ([(65000, 3, 200_000, 16)], "it has 200,000 numbers in its tag 65000, more than"),
    ):
        with pytest.raises(DataError, match=says):
            decode(tiff_of_strips(1, big=True, tags=tags) + bytes(400_000))
    assert decode(tiff_of_strips(1, tags=[(65000, 7, 200_000, 16)]) + bytes(200_000)).mode == "L"


def test_run_length_encoded_bitmaps_count_as_slow():
    pixels = b"".join(b"\x08" + bytes([value]) + b"\0\0" for value in range(4))  # lines of 8
    palette = b"".join(bytes([value] * 3 + [0]) for value in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(pixels), 1, 1, 256, 256)
    start = 14 + len(head) + len(palette)
    data = struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + head + palette + pixels
    assert np.asarray(decode(data)).reshape(4, -1)[:, 0].tolist() == [3, 2, 1, 0]
    moves = data[:start] + b"\0\2\0\0" * 30_000 + pixels
    with pytest.raises(DataError, match=r"its 32 pixels take 121,\d+ bytes, more than run-length"):
        decode(moves)
    with pytest.raises(DataError, match="32 pixels, which count 50 times in a run-length encoded"):
        decode(data, budgets=Budgets(pixels=32 * 49))
