"""`onnx-gap verify`"""

import json
import shutil
import subprocess

import pytest

from tools.forged_folders import seal


@pytest.fixture
def zoo_audit(onnx_gap, tmp_path):
    """An audit of a network of the zoo, with its gap model."""
    folder = tmp_path / "audit"
    assert onnx_gap("audit", "zoo:digits-c20", "--limit-per-class", 4, "--out", folder).code == 0
    return folder


def change(folder, **fields):
    path = folder / "audit.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields))
    seal(folder)


def test_an_audit_of_the_zoo_is_checked_with_network_and_gap_model(zoo_audit, onnx_gap):
    shown = onnx_gap("verify", zoo_audit)
    assert (shown.code, shown.err) == (0, "")
    assert all(line.startswith("ok ") for line in shown.out.splitlines())
    assert "digits-c20.onnx is the network that was audited" in shown.out
    assert "follows from the gap model" in shown.out


def test_the_counts_are_held_against_the_data(audit, network, train, save, digits, onnx_gap):
    folder = audit("audit", "--interpolation-samples", 0, "--neighbor-samples", 0)
    shown = onnx_gap("verify", folder, "--data", train, "--cells", 3, "--seed", 1)
    assert (shown.code, shown.err) == (0, "")
    assert "ok     curves counted again: 3 of 980 cells, drawn with seed 1." in shown.out
    assert "The chance that forged curves pass: of one cell 1, of 1% 0.97" in shown.out
    drawn = onnx_gap("verify", folder, "--data", train, "--cells", 3, "--json").json["drawn"]
    assert (drawn["cells"], drawn["all_cells"], drawn["all_samples"]) == (3, 980, 60)
    other = save("other.npz", images=255 - digits["images"], labels=digits["labels"])
    shown = onnx_gap("verify", folder, "--data", other, "--cells", 3)
    assert shown.code == 1
    assert "FAILED data read again: The samples have SHA-256" in shown.out
    shown = onnx_gap("verify", folder, "--cells", 3)
    assert shown.code == 2
    assert "--cells does nothing without --data" in shown.err
    moved = network.rename(network.with_name("moved.onnx"))
    shown = onnx_gap("verify", folder, "--data", train, "--cells", 3)
    assert shown.code == 2
    assert f"{network}, which the audit used, is no file that can be read. " in shown.err
    assert onnx_gap("verify", folder, "--data", train, "--cells", 3, "--model", moved).code == 0


def test_names_that_the_zoo_no_longer_has_are_said_to_be_unchecked(zoo_audit, onnx_gap):
    record = json.loads((zoo_audit / "audit.json").read_text(encoding="utf-8"))
    gone = {"gap_model_name": "zoo:gone"}
    change(
        zoo_audit,
        model=record["model"] | {"path": "zoo:gone"},
        gap=record["gap"] | gone,
        settings=record["settings"] | {"gap_model": "zoo:gone"},
    )
    shown = onnx_gap("verify", zoo_audit, "--json")
    assert shown.code == 0
    assert len(shown.json["not_checked"]) == 2
    assert all(
        "zoo:gone is no file that can be read" in sentence for sentence in shown.json["not_checked"]
    )


def test_a_number_that_does_not_follow_fails(zoo_audit, onnx_gap):
    change(zoo_audit, zeta=0.123)
    shown = onnx_gap("verify", zoo_audit)
    assert shown.code == 1
    failed = [line for line in shown.out.splitlines() if line.startswith("FAILED")]
    assert any("ζ of the network is 0.123" in line for line in failed)
    assert onnx_gap("verify", zoo_audit, "--json").json["passed"] is False


def test_another_network_fails(audit, onnx_gap):
    folder = audit()
    assert onnx_gap("verify", folder).code == 0
    shown = onnx_gap("verify", folder, "--model", "zoo:digits-c100")
    assert shown.code == 1
    assert "FAILED model" in shown.out


def test_a_folder_that_is_not_whole(audit, onnx_gap):
    folder = audit()
    (folder / "curves.npz").write_bytes(b"not these")
    shown = onnx_gap("verify", folder)
    assert shown.code == 1
    failed = [line for line in shown.out.splitlines() if line.startswith("FAILED")]
    assert failed == [
        f"FAILED files: {folder}/curves.npz is not the file that manifest.json lists: it was "
        "changed after the audit, or belongs to another one.",
        f"FAILED contents: {folder}/curves.npz is damaged or not an .npz file of plain arrays.",
    ]
    for command in ("report", "compare"):
        shown = onnx_gap(command, folder, *([folder] if command == "compare" else []))
        assert shown.code == 2
        assert "curves.npz is not the file that manifest.json lists" in shown.err
        assert "Run the audit again with --fresh." in shown.err


@pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed (openssh-client)"
)
def test_a_signed_audit(zoo_audit, onnx_gap, tmp_path):
    key, signers = tmp_path / "key", tmp_path / "signers"
    made = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    signed = ("ssh-keygen", "-q", "-Y", "sign", "-n", "onnx-gap", "-f", key)
    subprocess.run(made, check=True)
    subprocess.run((*signed, zoo_audit / "manifest.json"), check=True)
    signers.write_text(f"me@example.org {key.with_suffix('.pub').read_text()}")
    signature = zoo_audit / "manifest.json.sig"
    asked = ("verify", zoo_audit, "--signature", signature, "--allowed-signers", signers)
    shown = onnx_gap(*asked, "--signer", "me@example.org")
    assert shown.code == 0
    assert shown.out.startswith("ok     signature: me@example.org signed manifest.json.")
    shown = onnx_gap(*asked, "--signer", "other@example.org")
    assert shown.code == 1
    assert shown.out.count("FAILED") == 1
    assert "ok     report:" in shown.out
    change(zoo_audit, created="2001-01-01T00:00:00+00:00")  # and the manifest is forged to fit
    assert onnx_gap("verify", zoo_audit).code == 0
    shown = onnx_gap(*asked)
    assert shown.code == 1
    assert shown.out.startswith("FAILED signature: ")


def test_a_signature_and_its_signers_go_together(zoo_audit, onnx_gap, tmp_path):
    (tmp_path / "file").write_text("x")
    for option in ("--signature", "--allowed-signers"):
        shown = onnx_gap("verify", zoo_audit, option, tmp_path / "file")
        assert shown.code == 2
        assert "--signature and --allowed-signers go together" in shown.err
    shown = onnx_gap(
        "verify", zoo_audit, "--signature", "nowhere", "--allowed-signers", tmp_path / "file"
    )
    assert shown.code == 2
    assert "--signature nowhere is not a file" in shown.err
