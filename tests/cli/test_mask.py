"""`onnx-gap mask`"""

import errno
import tempfile

import numpy as np
import onnx
import onnxruntime as ort


def test_the_masked_network_is_a_drop_in(onnx_gap, network, digits, tmp_path):
    out = tmp_path / "masked.onnx"
    shown = onnx_gap("mask", network, "-o", out)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"{out}: channel_mask [1 or N, 48] on relu_3\n"
    onnx.checker.check_model(out)
    images = digits["images"][:, None].astype(np.float32)
    (plain,), (masked,) = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": images})
        for path in (network, out)
    )
    assert np.array_equal(plain, masked)


def test_a_network_of_the_zoo_at_another_site(onnx_gap):
    shown = onnx_gap("mask", "zoo:digits-c0", "--site", "relu_1", "--out", "masked.onnx")
    assert shown.code == 0
    assert "channel_mask [1 or N, 12] on relu_1" in shown.out


def test_a_place_that_cannot_be_written_is_bad_input(onnx_gap, network, monkeypatch, tmp_path):
    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    shown = onnx_gap("mask", network, "-o", tmp_path / "masked.onnx")
    assert shown.code == 2
    assert "masked.onnx cannot be written: No space left on device." in shown.err
    assert "Traceback" not in shown.err


def test_only_networks_are_replaced(onnx_gap, network, tmp_path):
    for name, content in {"notes.txt": b"mine", "x.png": b"\x89PNG"}.items():
        (tmp_path / name).write_bytes(content)
        shown = onnx_gap("mask", network, "-o", tmp_path / name)
        assert (shown.code, (tmp_path / name).read_bytes()) == (2, content)
        assert f"{name} is not an ONNX file, so it is not replaced. Name another" in shown.err
    shown = onnx_gap("mask", network, "-o", tmp_path / "curves.npz")
    assert shown.code == 2
    assert "or one of an audit. Name another file." in shown.err
    (tmp_path / "empty").touch()
    for name in ("empty", "empty", "masked.onnx", "masked.onnx"):
        assert onnx_gap("mask", network, "-o", tmp_path / name).code == 0
