"""Signatures of a result, by real keys."""

import shutil
import subprocess

import pytest

from analyzer.audit.signature import check_signature
from analyzer.errors import AuditFolderError

needs_ssh_keygen = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed (openssh-client)"
)


@pytest.fixture
def folder(tmp_path):
    """What a signature is of."""
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "manifest.json").write_text('{"schema": 1, "files": {}}\n')
    return tmp_path / "audit"


@pytest.fixture
def sign(folder, tmp_path):
    """sign(identity, namespace): the signature of a new key, and the file of allowed signers."""

    def run(identity, namespace="onnx-gap"):
        key = tmp_path / identity
        quiet = {"check": True, "capture_output": True}
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", identity, "-f", key], **quiet
        )
        manifest = folder / "manifest.json"
        command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", key, manifest]
        subprocess.run(command, **quiet)
        signature = manifest.with_name("manifest.json.sig").rename(tmp_path / f"{identity}.sig")
        signers = tmp_path / "signers"
        with signers.open("a") as file:
            file.write(f"{identity} {key.with_suffix('.pub').read_text()}")
        return signature, signers

    return run


@needs_ssh_keygen
def test_a_signature_holds_until_the_manifest_changes(folder, sign):
    signature, signers = sign("ann")
    found = check_signature(folder, signature, signers)
    assert found.passed
    assert found.sentence == "ann signed manifest.json."
    assert check_signature(folder, signature, signers, "ann").passed
    (folder / "manifest.json").write_text('{"schema": 1, "files": {"x": 1}}\n')
    found = check_signature(folder, signature, signers)
    assert not found.passed
    assert "ann.sig is no good signature of manifest.json" in found.sentence


@needs_ssh_keygen
def test_others_and_other_purposes_do_not_count(folder, sign, tmp_path):
    ann, signers = sign("ann")
    ben, _ = sign("ben")
    assert check_signature(folder, ben, signers).passed
    assert not check_signature(folder, ben, signers, "ann").passed
    only_ben = tmp_path / "only-ben"
    only_ben.write_text(signers.read_text().splitlines()[1] + "\n")
    found = check_signature(folder, ann, only_ben)
    assert "its key is not one of" in found.sentence
    mail, signers = sign("cleo", namespace="file")
    assert not check_signature(folder, mail, signers).passed


@needs_ssh_keygen
def test_a_damaged_signature_does_not_count(folder, sign):
    signature, signers = sign("ann")
    signature.write_text(signature.read_text().replace("A", "B"))
    assert not check_signature(folder, signature, signers).passed
    signature.write_bytes(b"")
    assert not check_signature(folder, signature, signers, "ann").passed


def test_what_is_missing_is_said(folder, tmp_path, monkeypatch):
    there = tmp_path / "there"
    there.write_text("x")
    with pytest.raises(AuditFolderError, match=r"nowhere is not a file"):
        check_signature(folder, tmp_path / "nowhere", there)
    with pytest.raises(AuditFolderError, match=r"allowed_signers=.*nowhere is not a file"):
        check_signature(folder, there, tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AuditFolderError, match=r"ssh-keygen, .* is not installed"):
        check_signature(folder, there, there)
    (folder / "manifest.json").unlink()
    assert "no manifest.json" in check_signature(folder, there, there).sentence
