"""Hostile training data in every format that holds images.

All are read for a bundled network of ten classes that takes gray images of 8×8 pixels.
"""

import functools
import gzip
import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np
from hypothesis import strategies as st

from tools.fuzz.harness import Case, Content, Link, Pipe, Target
from tools.fuzz.mutations import (
    changed_json,
    damaged,
    hostile_numbers,
    hostile_texts,
)
from tools.fuzz.small_data import (
    as_bytes,
    audit_of,
    digits,
    encoded,
    integers,
    json_bytes,
)

__all__ = ["DATA_SOURCES"]

_BOMB = 1200 << 20  # bytes that a few hundred thousand decompress to


@functools.cache
def _zeros() -> bytes:
    """More zeros than the budget allows, as a gzip file."""
    part = 64 << 20
    return gzip.compress(bytes(part), compresslevel=1, mtime=0) * (_BOMB // part + 1)


# Images

_KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
_END = 1 << 40
_PARTS = {  # where further ones can be, and what is no more than ignored there
    "PNG": (33, b"\0\0\0\0abCdx\x06\xe9\xb3"),
    "JPEG": (2, b"\xff\xfe\0\x03A"),
    "GIF": (13, b"\x21\xfe\x01A\0"),
    "PPM": (3, b"#\n"),
    "WEBP": (_END, b"abcd\x01\0\0\0A\0"),
    "JPEG2000": (_END, b"\0\0\0\x08free"),
}
_ENDINGS = ("png", "jpg", "gif", "bmp", "tif", "webp", "pgm", "jp2", "PNG", "jpeg")


@st.composite
def _images(draw: st.DrawFn) -> bytes:
    """An image file, damaged, of another size, or one that says it is endless."""
    kind = draw(st.sampled_from(_KINDS))
    shape = draw(st.sampled_from([(8, 8), (1, 1), (8, 8, 3), (8, 8, 4), (1, 5000), (3, 70)]))
    if kind == "JPEG":
        shape = shape[:2]
    content = encoded(np.full(shape, 7, np.uint8), kind)
    what = draw(st.sampled_from(["whole", "damaged", "damaged", "endless", "parts", "empty"]))
    if what == "endless" and kind in ("PNG", "BMP"):
        at, order = (16, ">II") if kind == "PNG" else (18, "<ii")
        edges = draw(st.sampled_from([(13_300, 13_300), (1, 89_000_000), (2**31 - 1, 2**31 - 1)]))
        content = content[:at] + struct.pack(order, *edges) + content[at + 8 :]
    elif what == "endless":
        content = f"P5 {draw(hostile_numbers)} {draw(hostile_numbers)} 255\n".encode() + bytes(70)
    elif what == "parts" and kind in _PARTS:
        at, part = _PARTS[kind]
        content = content[:at] + draw(st.sampled_from([3, 90_000, 300_000])) * part + content[at:]
    elif what == "empty":
        content = b""
    elif what == "damaged":
        content = draw(damaged(content))
    return content


_FILE_NAMES = st.one_of(
    st.sampled_from(
        ["a\udcff\udcfe", "\x1b[31mred", "\u202egnp", "new\nline", "-h", "a" * 200, "ζ", " ", "#x",
         "'", "<b>", "%00", "9" * 200, "\x9b", "\u2028"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=9),
).filter(lambda name: name not in (".", ".."))  # fmt: skip


@st.composite
def _folders(draw: st.DrawFn) -> Case:
    images, labels = digits()
    files: dict[str, Content] = {
        f"data/{label}/{number}.png": encoded(image, "PNG")
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    }
    names = st.builds(str.__add__, _FILE_NAMES, st.sampled_from([f".{one}" for one in _ENDINGS]))
    for _ in range(draw(st.integers(1, 3))):
        folder = f"data/{draw(st.one_of(st.integers(0, 9).map(str), _FILE_NAMES))}"
        what = draw(st.sampled_from(["image", "image", "link", "pipe", "class link", "drop"]))
        if what == "image":
            files[f"{folder}/{draw(names)}"] = draw(_images())
        elif what == "link":
            to = draw(st.sampled_from(["/dev/zero", "..", ".", "nowhere", "/etc/passwd", "a.png"]))
            files[f"{folder}/{draw(names)}"] = Link(to)
        elif what == "pipe":
            files[f"{folder}/{draw(names)}"] = Pipe()
        elif what == "class link":
            files[f"data/x{draw(_FILE_NAMES)}"] = Link(draw(st.sampled_from(["..", "0", "/dev"])))
        else:
            del files[draw(st.sampled_from(sorted(files)))]
    options = draw(st.sampled_from([(), ("--skip-bad",), ("--classes", "classes.txt")]))
    files["classes.txt"] = b"\n".join(b"%d" % number for number in range(10))
    return Case(audit_of("data", *options), files)


# IDX and npz


@st.composite
def _idx(draw: st.DrawFn) -> Case:
    images, labels = digits()
    parts = [
        [struct.pack(">I", 0x803), struct.pack(">III", *images.shape), images.tobytes()],
        [struct.pack(">I", 0x801), struct.pack(">I", len(labels)), bytes(labels.tolist())],
    ]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        part = draw(st.sampled_from(parts))
        numbers = [n & 0xFFFFFFFF for n in draw(st.lists(integers, min_size=3, max_size=3))]
        part[1] = struct.pack(f">{len(part[1]) // 4}I", *numbers[: len(part[1]) // 4])
    files: dict[str, Content] = {}
    for name, part in zip(("images-idx3", "labels-idx1"), parts, strict=True):
        content, ending = b"".join(part), draw(st.sampled_from(["", ".gz"]))
        if draw(st.integers(0, 3)) == 0:
            content = draw(damaged(content))
        if ending:
            content = gzip.compress(content, mtime=0)
            what = draw(st.sampled_from(["whole"] * 3 + ["damaged", "bomb"]))
            if what == "damaged":
                content = draw(damaged(content))
            elif what == "bomb":
                content = gzip.compress(b"".join(part[:2]), mtime=0) + _zeros()
        files[f"data/train-{name}-ubyte{ending}"] = draw(
            st.sampled_from([content] * 9 + [Pipe(), Link("/dev/zero")])
        )
    return Case(audit_of("data"), files)


def _npy(array: np.ndarray, header: str | None = None) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    content = stream.getvalue()
    if header is None:
        return content
    body = content[10 + struct.unpack("<H", content[8:10])[0] :]
    text = header.encode().ljust(118)[:65000] + b"\n"
    return content[:8] + struct.pack("<H", len(text)) + text + body


@st.composite
def _headers(draw: st.DrawFn) -> str:
    kinds = ["|u1", "<i8", ">u8", "|O", "|V0", "|S0", "<f8", "<f2", "<c16", "<M8[ns]", "|b1", "x",
             "<U2000000000", "|V2147483647"]  # fmt: skip
    descr = draw(st.one_of(st.sampled_from(kinds).map(repr), st.just("[('a', '|u1')]")))
    shape = draw(st.lists(integers, max_size=4).map(tuple))
    text = f"{{'descr': {descr}, 'fortran_order': {draw(st.booleans())}, 'shape': {shape}, }}"
    return draw(
        st.sampled_from(
            [text] * 8
            + [
                "{" * 5000,
                "(" * 200 + ")" * 200,
                "__import__('os')",
                text * 600,
                text[:-3] + "L, }",
            ]
        )
    )


@st.composite
def _npz(draw: st.DrawFn) -> Case:
    images, labels = digits()
    of_labels = st.one_of(
        st.sampled_from([labels.astype(kind) for kind in ("u1", "f8", "f2", ">i4", "?", "U3")]),
        st.builds(lambda n: np.where(labels == 3, n, labels), integers.filter(_fits)),
        st.builds(lambda n: np.where(labels == 3, float(n), labels * 1.0), hostile_numbers),
        st.sampled_from(
            [labels[:, None], labels[:3], labels.reshape(4, 5), np.array(3), labels[:0]]
        ),
    )
    of_images = st.sampled_from(
        [images, images.astype("i8"), images[:, None], images[..., None] * np.ones(4, "u1"),
         images[:, None].astype("f4"), images[:, None].astype("f8") * 1e300, images * 1.0,
         np.full((20, 1, 8, 8), np.nan, "f2"), images[:0], images[:, :0],
         images[:, :, :, None, None], images.astype("i8") - 9, np.zeros((20, 0, 2**40), "u1"),
         images.astype("?")]
    )  # fmt: skip
    made: dict[str, bytes] = {}
    for name, right, others in (("images", images, of_images), ("labels", labels, of_labels)):
        array = draw(st.one_of(st.just(right), others))
        made[name] = _npy(array, draw(st.one_of(st.none(), st.none(), _headers())))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in made.items():
            how = draw(
                st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
            )
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content, how)
    content = stream.getvalue()
    what = draw(st.sampled_from(["whole"] * 3 + ["damaged", "bomb", "size", "single"]))
    if what == "damaged":
        content = draw(damaged(content))
    elif what == "bomb":
        content = _npz_bomb()
    elif what == "size":  # of the first array, in the directory at the end
        at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"PK\x01\x02")) + 24
        lie = draw(st.sampled_from([0, 1, 2**31, 2**32 - 2]))
        content = content[:at] + struct.pack("<I", lie) + content[at + 4 :]
    elif what == "single":
        content = made["images"]
    options = draw(st.sampled_from([(), (), ("--keys", "labels,images"), ("--skip-bad",)]))
    return Case(audit_of("data.npz", *options), {"data.npz": content})


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


@functools.cache
def _npz_bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("images.npy", "w") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (_BOMB >> 6, 8, 8)}
            )
            for _ in range(_BOMB >> 20):
                file.write(bytes(1 << 20))
        archive.writestr("labels.npy", _npy(np.zeros(_BOMB >> 6, np.uint8)))
    return stream.getvalue()


# CIFAR


_CALLS = (
    b"cos\nsystem\n(U\x02idtR",
    b"cnumpy\nndarray\n((J\xff\xff\xff\x7fM\x00\x0ctU\x02u1tR",
    b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR",
    b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    b"c_codecs\nencode\n(X\x01\x00\x00\x00aU\x05utf16tR",
    b"cbuiltins\neval\n(U\x011tR",
    b"r\xff\xff\xff\x7f",
    b"\x8b\xff\xff\xff\x7f",
    b"\x8e" + b"\xff" * 7 + b"\x7f",
    b"(l" * 3000 + b"a" * 2000,
    b"(" * 3_000_000,
)


@st.composite
def _cifar(draw: st.DrawFn) -> Case:
    images, labels = digits()
    pixels = np.repeat(images.repeat(4, 1).repeat(4, 2).reshape(20, 1, 1024), 3, 1).reshape(20, -1)
    if draw(st.booleans()):
        records = np.concatenate([labels[:, None].astype("u1"), pixels], 1).tobytes()
        names = {f"data/data_batch_{n}.bin": records for n in range(1, 6)}
        names["data/batches.meta.txt"] = b"\n".join(b"c%d" % n for n in range(10))
        chosen = draw(st.sampled_from(sorted(names)))
        names[chosen] = draw(st.one_of(damaged(names[chosen]), st.binary(max_size=9)))
        return Case(audit_of("data", "--img-size", "8"), dict(names))
    shared: list[object] = ["lol"]
    for _ in range(40):
        shared = [shared] * 10
    hostile: st.SearchStrategy[object] = st.one_of(
        hostile_numbers,
        hostile_texts,
        st.sampled_from([shared, [shared] * 20, [None] * 20, [True] * 20, [2**70] * 20, b"", {}]),
        st.sampled_from([pixels[:3], pixels.astype("i2"), pixels.T, np.array([{}])]),
    )
    batch: dict[object, object] = {
        b"data": pixels, b"labels": labels.tolist(), b"filenames": [b"f%d" % n for n in range(20)]
    }  # fmt: skip
    meta: dict[object, object] = {b"label_names": [b"c%d" % n for n in range(10)]}
    files: dict[str, Content] = {}
    for name, value in (*((f"data_batch_{n}", batch) for n in range(1, 6)), ("batches.meta", meta)):
        value = dict(value)
        if draw(st.integers(0, 3)) == 0:
            value[draw(st.sampled_from(list(value)))] = draw(hostile)
        content = pickle.dumps(value, protocol=draw(st.sampled_from([2, 2, 0, 4])))
        what = draw(st.sampled_from(["whole"] * 5 + ["damaged", "call"]))
        if what == "damaged":
            content = draw(damaged(content))
        elif what == "call":
            content = content[:2] + draw(st.sampled_from(_CALLS)) + content[2:]
        files[f"data/{name}"] = content
    return Case(audit_of("data", "--img-size", "8"), files)


# Parquet and WebDataset


@st.composite
def _parquet(draw: st.DrawFn) -> Case:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images, labels = digits()
    files = [encoded(image, "PNG") for image in images]
    if draw(st.booleans()):
        files[3] = draw(st.one_of(_images(), st.just(b""), st.just(bytes(1 << 20))))
    names = [f"{number}.png" for number in range(20)]
    names[3] = draw(st.one_of(st.just("3.png"), hostile_texts.filter(_is_text)))
    of_labels = st.sampled_from(
        [pa.array(labels), pa.array(labels, pa.uint8()), pa.array([2**63 + 1] * 20, pa.uint64()),
         pa.array([str(label) for label in labels]), pa.array(["9" * 5000] * 20),
         pa.array([None, *labels[1:]]), pa.array(labels * 1.5), pa.array([[1]] * 20),
         pa.array([f"c{label}" for label in labels], pa.large_string()),
         pa.array([-(2**62)] * 20), pa.array([True] * 20), pa.array(labels).dictionary_encode()]
    )  # fmt: skip
    columns = {
        "image": draw(
            st.sampled_from(
                [
                    pa.StructArray.from_arrays(
                        [pa.array(files, pa.binary()), pa.array(names)], ["bytes", "path"]
                    ),
                    pa.array(files, pa.binary()),
                    pa.array(files, pa.large_binary()),
                    pa.array([None, *files[1:]], pa.binary()),
                    pa.array(names),
                    pa.array([bytes(1 << 20)] * 20, pa.binary()),
                ]
            )
        ),
        "label": draw(st.one_of(st.just(pa.array(labels)), of_labels)),
    }
    table = pa.table(columns)
    features = {
        "info": {
            "features": {
                "image": {"_type": "Image"},
                "label": {"_type": "ClassLabel", "names": [f"c{number}" for number in range(10)]},
            }
        }
    }
    if draw(st.booleans()):
        said = draw(st.one_of(changed_json(features), json_bytes))
        table = table.replace_schema_metadata({b"huggingface": said})
    stream = io.BytesIO()
    pq.write_table(table, stream, compression=draw(st.sampled_from(["none", "snappy", "gzip"])))
    content = stream.getvalue()
    if draw(st.integers(0, 2)) == 0:
        content = draw(damaged(content))
    return Case(audit_of("data.parquet"), {"data.parquet": content})


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _member(name: str, content: bytes, size: int | None = None, kind: bytes = b"0") -> bytes:
    """A file of a tar archive; ``size`` as its header says it, however large or negative."""
    info = tarfile.TarInfo("name")
    info.size = len(content)
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[:100] = name.encode(errors="surrogateescape")[:100].ljust(100, b"\0")
    header[156:157] = kind
    if size is not None:
        number = (size + (1 << 96)) % (1 << 96) if size < 0 else size
        lead = 0xFF if size < 0 else 0x80
        header[124:136] = bytes([lead]) + (number & ((1 << 88) - 1)).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % 512)


@st.composite
def _tars(draw: st.DrawFn) -> Case:
    members = []
    sizes = st.sampled_from([2**80, 2**63, 2**40, -512, -1024, -(2**80), 0, 7])
    for number, (image, label) in enumerate(zip(*digits(), strict=True)):
        members.append([f"{number}.png", encoded(image, "PNG"), None, b"0"])
        members.append([f"{number}.cls", b"%d" % label, None, b"0"])
    for _ in range(draw(st.integers(1, 3))):
        member = draw(st.sampled_from(members))
        what = draw(st.sampled_from(["size", "name", "content", "kind", "json", "long", "deep"]))
        if what == "size":
            member[2] = draw(sizes)
        elif what == "name":
            member[0] = f"{draw(_FILE_NAMES)}.{draw(st.sampled_from(['png', 'cls', 'json', 'x']))}"
        elif what == "kind":
            member[3] = draw(
                st.sampled_from([b"x", b"g", b"L", b"K", b"S", b"2", b"5", b"1", b"\0"])
            )
        elif what == "json":
            member[0] = member[0].rpartition(".")[0] + ".json"
            member[1] = draw(
                st.one_of(json_bytes, json_bytes.map(lambda text: b'{"label": %s}' % text))
            )
        elif what == "long":
            member[3], member[1] = b"x", b"30 size=999999999999999999999\n" * 2
        elif what == "deep":
            member[3], member[1] = b"x", b"200018 path=%sk.png\n" % (b"d/" * 100_000)
        else:
            member[1] = draw(
                st.one_of(_images(), hostile_texts.map(as_bytes), st.binary(max_size=9))
            )
    content = b"".join(_member(*member) for member in members) + bytes(1024)
    if draw(st.integers(0, 3)) == 0:
        content = draw(damaged(content))
    options = draw(st.sampled_from([(), ("--skip-bad",), ("--skip-bad",), ("--keys", "png,cls")]))
    return Case(audit_of("data.tar", *options), {"data.tar": content})


DATA_SOURCES = (
    Target("folders", _folders()),
    Target("idx", _idx()),
    Target("npz", _npz()),
    Target("cifar", _cifar()),
    Target("parquet", _parquet()),
    Target("webdataset", _tars()),
)
