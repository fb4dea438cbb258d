import threading
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from PIL import Image

from analyzer.data import (
    KeptPictures,
    PreprocessOptions,
    decode_images,
    from_arrays,
    open_data,
    read_batches,
    resolve_preprocessing,
)
from analyzer.errors import DataError


@pytest.fixture
def images_of(network_input):
    """images_of(source, *shape, dtype=…, **options): all samples as one array."""

    def make(source, *shape, dtype="float32", **options):
        info = network_input(*shape, dtype=dtype)
        preprocessing = resolve_preprocessing(source, info, PreprocessOptions(**options))
        made = read_batches(source, preprocessing, np.arange(len(source)), 3)
        return np.concatenate([batch.images for batch in made])

    return make


def arrays(images):
    return from_arrays(images, np.zeros(len(images), int), source="data")


RGB = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), np.uint8)
GRAY = RGB[..., 0]


def test_scaling_gives_the_bits_of_totensor_and_normalize(images_of):
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    expected = every.astype(np.float32) / np.float32(255)
    assert np.array_equal(images_of(arrays(every), "N", 1, 16, 16)[:, 0], expected)
    mean, std = np.float32(0.1307), np.float32(0.3081)
    normalized = images_of(arrays(every), "N", 1, 16, 16, preset="mnist")
    assert np.array_equal(normalized[:, 0], (expected - mean) / std)


def test_presets_values(images_of):
    pixels = RGB.transpose(0, 3, 1, 2).astype(np.float64)
    tf = images_of(arrays(RGB), "N", 3, 6, 7, preset="imagenet-tf", crop_pct=1)
    np.testing.assert_allclose(tf, pixels / 127.5 - 1, atol=1e-6)
    caffe = images_of(arrays(RGB), "N", 3, 6, 7, preset="imagenet-caffe", crop_pct=1)
    mean = np.array([103.939, 116.779, 123.68]).reshape(3, 1, 1)
    np.testing.assert_allclose(caffe, pixels[:, ::-1] - mean, atol=1e-4)
    none = images_of(arrays(RGB), "N", 3, 6, 7, preset="none")
    assert np.array_equal(none, pixels)


def test_layouts_hold_the_same_values(images_of):
    first = images_of(arrays(RGB), "N", 3, 6, 7)
    assert np.array_equal(images_of(arrays(RGB), "N", 6, 7, 3), first.transpose(0, 2, 3, 1))
    gray = images_of(arrays(GRAY), "N", 1, 6, 7)
    assert np.array_equal(images_of(arrays(GRAY), "N", 6, 7), gray[:, 0])
    assert np.array_equal(images_of(arrays(GRAY), "N", 42), gray.reshape(5, 42))


def test_channels(images_of):
    gray = images_of(arrays(RGB), "N", 1, 6, 7, preset="none")
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in RGB])
    assert np.array_equal(gray[:, 0], expected)
    repeated = images_of(arrays(GRAY), "N", 3, 6, 7, preset="none")
    assert all(np.array_equal(repeated[:, c], GRAY) for c in range(3))
    bgr = images_of(arrays(RGB), "N", 3, 6, 7, preset="none", channels="bgr")
    assert np.array_equal(bgr, RGB[..., ::-1].transpose(0, 3, 1, 2))
    alpha = np.concatenate([RGB, GRAY[..., None]], axis=3)
    assert np.array_equal(
        images_of(arrays(alpha), "N", 3, 6, 7), images_of(arrays(RGB), "N", 3, 6, 7)
    )


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16", "uint8", "int32"])
def test_types(dtype, images_of):
    made = images_of(arrays(RGB), "N", 3, 6, 7, dtype=dtype)
    pixels = RGB.transpose(0, 3, 1, 2)
    if dtype in ("uint8", "int32"):
        assert np.array_equal(made, pixels)
    elif dtype == "float64":
        assert np.array_equal(made, pixels / 255)
    else:
        scaled = pixels.astype(np.float32) / np.float32(255)
        assert np.array_equal(made, scaled.astype(getattr(ml_dtypes, dtype, np.float16)))
    assert made.dtype.name == dtype


def test_float_arrays(images_of):
    values = np.random.default_rng(0).normal(size=(5, 2, 3))
    assert np.array_equal(images_of(arrays(values), "N", 1, 2, 3)[:, 0], values.astype("f4"))
    assert np.array_equal(images_of(arrays(values), "N", 6, dtype="float64"), values.reshape(5, 6))


def test_an_array_that_is_resized_is_what_pillow_makes(images_of):
    made = images_of(arrays(RGB), "N", 3, 12, 12, interpolation="bicubic", scale=1.0)
    resized = Image.fromarray(RGB[1]).resize((14, 12), Image.Resampling.BICUBIC)
    expected = np.asarray(resized)[:, 1:13].transpose(2, 0, 1)
    assert np.array_equal(made[1], expected)


def test_files_give_what_arrays_give(class_folders, images_of):
    source = open_data(class_folders({"a": 4, "b": 3}))
    stacked = arrays(np.stack([source.read(i).image for i in range(7)]))
    for shape in (("N", 3, 8, 8), ("N", 5, 5, 3), ("N", 1, 16, 12)):
        assert np.array_equal(images_of(source, *shape), images_of(stacked, *shape))


@pytest.fixture
def folder_and_preprocessing(class_folders, network_input):
    folder = class_folders({"a": 20, "b": 11})
    source = open_data(folder)
    return folder, source, resolve_preprocessing(source, network_input("N", 3, 8, 8))


@pytest.mark.parametrize("threads", [1, 4])
def test_order_and_digests(threads, folder_and_preprocessing):
    _, source, preprocessing = folder_and_preprocessing
    indices = np.random.default_rng(0).permutation(31)
    made = list(read_batches(source, preprocessing, indices, 9, threads=threads))
    assert [len(batch) for batch in made] == [9, 9, 9, 4]
    assert np.array_equal(np.concatenate([batch.indices for batch in made]), indices)
    for batch in made:
        assert batch.skipped == ()
        for slot, index in enumerate(batch.indices):
            sample = source.read(index)
            assert batch.digests[slot].tobytes() == sample.digest
            pixels = sample.image.transpose(2, 0, 1).astype(np.float32)
            assert np.array_equal(batch.images[slot], pixels / np.float32(255))


def test_digests_of_arrays(network_input):
    source = arrays(RGB)
    preprocessing = resolve_preprocessing(source, network_input("N", 3, 6, 7))
    (batch,) = read_batches(source, preprocessing, [4, 2], 5)
    assert [digest.tobytes() for digest in batch.digests] == [
        source.read(4).digest,
        source.read(2).digest,
    ]


@pytest.mark.parametrize(("room", "read_again"), [(0, 31), (31 * 192, 0), (10 * 192, 21)])
def test_pictures_are_kept_for_the_next_reading(
    room, read_again, folder_and_preprocessing, monkeypatch
):
    _, source, preprocessing = folder_and_preprocessing
    kept = KeptPictures(room)
    first = list(read_batches(source, preprocessing, range(31), 9, kept=kept))
    decoded, decode = [], decode_images.decode

    def count(*args, **options):
        decoded.append(args)
        return decode(*args, **options)

    monkeypatch.setattr("analyzer.data.decode_images.decode", count)
    again = list(read_batches(source, preprocessing, range(31), 9, kept=kept, fed=True))
    assert len(decoded) == read_again
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.digests, other.digests)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_images_are_told_as_the_same_by_what_is_fed(tmp_path, network_input, dtype):
    info = network_input("N", 3, 6, 7, dtype=dtype)
    for index, image in enumerate(RGB[:4]):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "a" / f"{index}.png", compress_level=1)
    (tmp_path / "a" / "1.png").write_bytes(b"broken")
    told = []
    for source in (arrays(RGB[:4]), open_data(tmp_path)):
        preprocessing = resolve_preprocessing(source, info)
        (batch,) = read_batches(source, preprocessing, range(4), 4, skip_bad=True, fed=True)
        fed = [one.tobytes() for one in batch.fed]
        told.append(dict(zip(batch.indices.tolist(), fed, strict=True)))
    assert len(set(told[0].values())) == 4
    assert told[1] == {index: told[0][index] for index in (0, 2, 3)}
    (batch,) = read_batches(source, preprocessing, [0], 1)
    assert batch.fed.shape == (0, 32)


def test_an_unreadable_image_is_named(folder_and_preprocessing):
    folder, source, preprocessing = folder_and_preprocessing
    (folder / "a" / "13.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"a/13\.png in .* cannot be read .*skip_bad=True"):
        list(read_batches(source, preprocessing, range(31), 9))


def test_skip_bad_goes_on_and_names_them(folder_and_preprocessing):
    folder, source, preprocessing = folder_and_preprocessing
    bad = [3, 4, *range(18, 27), 30]
    for index in bad:
        (folder / source.names[index]).write_bytes(b"broken")
    (folder / source.names[3]).unlink()
    made = list(read_batches(source, preprocessing, range(31), 9, skip_bad=True))
    assert [len(batch) for batch in made] == [7, 9, 0, 3]
    assert made[2].images.shape == (0, 3, 8, 8)
    skipped = [sample for batch in made for sample in batch.skipped]
    assert [sample.index for sample in skipped] == bad
    assert [sample.name for sample in skipped] == [source.names[index] for index in bad]
    assert "not an image" in skipped[1].reason
    read = np.concatenate([batch.indices for batch in made])
    assert np.array_equal(read, np.setdiff1d(np.arange(31), bad))
    last = made[0]
    assert last.digests[3].tobytes() == source.read(last.indices[3]).digest


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_belong_to_a_sample(network_input, dtype, wrong):
    stored = np.random.default_rng(0).random((5, 3, 6, 6)).astype(dtype)
    stored[3, 1, 2, 4] = wrong
    source = arrays(stored)
    declared = network_input("N", 3, 6, 6)
    preprocessing = resolve_preprocessing(source, declared, PreprocessOptions())
    with pytest.raises(DataError, match=r"^3 in data cannot be read \(.*not finite.*skip_bad=True"):
        list(read_batches(source, preprocessing, range(5), 2))
    made = list(read_batches(source, preprocessing, range(5), 2, skip_bad=True))
    assert [batch.indices.tolist() for batch in made] == [[0, 1], [2], [4]]
    assert [len(batch.images) for batch in made] == [2, 1, 1]
    ((bad,),) = (batch.skipped for batch in made if batch.skipped)
    assert (bad.index, bad.name) == (3, "3")


@pytest.mark.parametrize(
    ("stored", "fed", "wrong"), [("float64", "float32", 1e300), ("float32", "float16", 7e4)]
)
@pytest.mark.filterwarnings("error")
def test_a_number_that_the_network_cannot_take_belongs_to_a_sample(
    network_input, stored, fed, wrong
):
    values = np.ones((5, 3, 6, 6), stored)
    values[3, 1, 2, 4] = wrong
    source = arrays(values)
    preprocessing = resolve_preprocessing(
        source, network_input("N", 3, 6, 6, dtype=fed), PreprocessOptions()
    )
    with pytest.raises(DataError, match=rf"^3 in data .*infinite as {fed}.*skip_bad=True"):
        list(read_batches(source, preprocessing, range(5), 2))
    made = list(read_batches(source, preprocessing, range(5), 2, skip_bad=True))
    assert [batch.indices.tolist() for batch in made] == [[0, 1], [2], [4]]
    assert all(np.isfinite(batch.images).all() for batch in made)


def test_images_of_differing_sizes_name_the_option(
    folder_and_preprocessing, picture, encoded, network_input
):
    folder, source, _ = folder_and_preprocessing
    (folder / "a" / "2.png").write_bytes(encoded(picture(9, 8)))
    own_size = resolve_preprocessing(source, network_input("N", 3, "H", "W"))
    for skip_bad in (False, True):
        with pytest.raises(DataError, match=r"a/2\.png in .* is 9×8, .* not 8×8 .*with img_size\."):
            list(read_batches(source, own_size, range(31), 9, skip_bad=skip_bad))


def test_exif_rotation(tmp_path, picture, encoded, images_of):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / "0.png").write_bytes(encoded(picture(8, 8), exif=exif))
    upright = images_of(open_data(tmp_path / "d"), "N", 3, 8, 8)
    turned = images_of(open_data(tmp_path / "d", exif=True), "N", 3, 8, 8)
    assert np.array_equal(turned[0], np.rot90(upright[0], -1, (1, 2)))


def test_nothing_asked_for_gives_nothing(folder_and_preprocessing):
    _, source, preprocessing = folder_and_preprocessing
    assert list(read_batches(source, preprocessing, [], 9)) == []
    with pytest.raises(ValueError, match="batch_size"):
        list(read_batches(source, preprocessing, [1], 0))


def test_a_closed_iterator_leaves_no_threads(folder_and_preprocessing):
    _, source, preprocessing = folder_and_preprocessing
    before = threading.active_count()
    made = read_batches(source, preprocessing, range(31), 2, threads=3)
    next(made)
    made.close()
    assert threading.active_count() == before


def test_memory_is_that_of_a_few_batches(network_input):
    source = arrays(np.zeros((2000, 16, 16), np.uint8))
    preprocessing = resolve_preprocessing(source, network_input("N", 1, 16, 16))
    batch_bytes = 50 * 16 * 16 * 4
    tracemalloc.start()
    for batch in read_batches(source, preprocessing, range(2000), 50, threads=2):
        assert len(batch) == 50
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * batch_bytes
