"""A result appears whole or not at all: kills while files move, mixtures, data that change.
---
Signatures of a result, by real keys."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_commands import BUNDLED

from analyzer import open_audit
from analyzer.audit import compare_audits, render_report, run_audit, verify_audit
from analyzer.audit.folder import RESULT_FILES, finished_audit, locked, read_record
from analyzer.audit.result_manifest import MANIFEST, check_signature, find_faults, read_entries
from analyzer.audit.unfinished_audit import UnfinishedAudit
from analyzer.audit_options import AuditRequest
from analyzer.data import PreprocessOptions
from analyzer.errors import AuditFolderError, DataError, OutputError
from analyzer.files import sha256
from analyzer.measures.ablation.measure import Ablation
from analyzer.measures.interpolation.measure import Interpolation
from tools.forged_folders import seal


@pytest.fixture
def asked(tmp_path) -> AuditRequest:
    """An audit of digits-c0 with 4 samples a class."""
    with np.load(BUNDLED / "train.npz") as stored:
        images, labels = stored["images"], stored["labels_c0"]
    chosen = np.concatenate([np.flatnonzero(labels == j)[:4] for j in range(10)])
    np.savez(tmp_path / "train.npz", images=images[chosen], labels=labels[chosen])
    return AuditRequest(
        anyway=True,
        model=BUNDLED / "digits-c0.onnx",
        data=str(tmp_path / "train.npz"),
        out=tmp_path / "audit",
        preprocess=PreprocessOptions(preset="none"),
    )


@pytest.fixture
def other(asked) -> AuditRequest:
    """The audit of another network, into the same folder."""
    return replace(asked, model=BUNDLED / "digits-c100.onnx", fresh=True)


class Killed(BaseException):
    """Stands for a kill, in that nothing of ours tidies up after it."""


def kill_at_move(monkeypatch, number: int) -> None:
    """Kill the process at its move number ``number`` of a file into the audit folder."""
    moved = 0

    def replace_or_die(source, target) -> None:
        nonlocal moved
        if Path(source).parent.name == "result" != Path(target).parent.name:
            moved += 1
            if moved == number:
                raise Killed
        os.rename(source, target)

    monkeypatch.setattr("analyzer.audit.result_manifest.os.replace", replace_or_die)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_manifest_names_every_file_with_its_sha256(asked):
    run_audit(asked)
    entries = read_entries(asked.out, RESULT_FILES)
    assert entries.keys() | {MANIFEST} == contents(asked.out).keys()
    for name, entry in entries.items():
        assert entry.sha256 == sha256(asked.out / name)
        assert entry.bytes == (asked.out / name).stat().st_size


@pytest.mark.parametrize("number", range(1, 10))
def test_a_kill_among_the_moves_is_no_result_and_the_next_run_completes_it(
    asked, other, number, monkeypatch
):
    run_audit(asked)
    with monkeypatch.context() as context:
        kill_at_move(context, number)
        with pytest.raises(Killed):
            run_audit(other)
    for read in (open_audit, render_nothing, lambda folder: compare_audits(folder, folder)):
        with pytest.raises(AuditFolderError, match=r"no finished audit: manifest\.json"):
            read(asked.out)
    assert not verify_audit(asked.out).passed
    monkeypatch.setattr(Ablation, "measure", lambda *_: pytest.fail("measured again"))
    run_audit(other)
    assert read_record(asked.out).model.sha256 == sha256(other.model)
    assert verify_audit(asked.out).passed
    assert not (asked.out / ".unfinished").exists()


def render_nothing(folder: Path) -> None:
    with finished_audit(folder):
        pytest.fail("read as a whole")


def test_a_measure_that_was_being_added_is_not_lost_and_nor_are_the_counts(asked, monkeypatch):
    without = replace(asked, interpolation_samples=0)
    run_audit(without)
    with monkeypatch.context() as context:
        kill_at_move(context, 3)
        with pytest.raises(Killed):
            run_audit(asked)
    monkeypatch.setattr(Ablation, "measure", lambda *_: pytest.fail("counted again"))
    monkeypatch.setattr(Interpolation, "measure", lambda *_: pytest.fail("mixed again"))
    assert run_audit(asked).sections["interpolation"].samples == 40
    assert verify_audit(asked.out).passed


def test_an_interrupted_report_is_completed(asked, monkeypatch):
    run_audit(asked)
    before = contents(asked.out)
    (asked.out / "report.html").write_text("edited")
    with pytest.raises(AuditFolderError, match=r"report\.html is not the file"):
        open_audit(asked.out)
    with monkeypatch.context() as context:
        kill_at_move(context, 2)
        with pytest.raises(Killed):
            render_report(asked.out)
    render_report(asked.out)
    assert contents(asked.out) == before


def test_an_interrupted_fresh_run_resumes_and_leaves_the_old_result_until_then(asked, other):
    run_audit(asked)
    before = contents(asked.out)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "interpolation":
            raise Killed

    with pytest.raises(Killed):
        run_audit(other, progress=stop)
    assert contents(asked.out) == before
    assert verify_audit(asked.out).passed
    said = []
    run_audit(other, say=said.append)
    assert "Resuming after 40 of 40 samples." in said
    said.clear()
    run_audit(other, say=said.append)  # done: the same again starts from nothing
    assert not any("Resuming" in sentence for sentence in said)


def test_files_of_two_audits_are_not_summed_up(asked, other, tmp_path):
    run_audit(asked)
    run_audit(replace(other, out=tmp_path / "other"))
    shutil.copy(tmp_path / "other" / "curves.npz", asked.out)
    shutil.copy(tmp_path / "other" / "samples.npz", asked.out)
    assert set(find_faults(asked.out, RESULT_FILES)) == {"curves.npz", "samples.npz"}
    said = []
    whole = run_audit(replace(asked, chance=0.2), say=said.append)
    assert any("Everything is measured again" in sentence for sentence in said)
    assert whole.zeta == run_audit(replace(asked, chance=0.2, out=tmp_path / "new")).zeta


def test_a_file_of_another_audit_is_a_fault_and_a_note_is_not(asked):
    run_audit(asked)
    (asked.out / "notes.txt").write_text("mine")
    assert verify_audit(asked.out).passed
    (asked.out / "margins.npz").write_bytes(b"somebody's")
    assert "margins.npz is not in manifest.json" in verify_audit(asked.out).checks[0].sentence
    run_audit(replace(asked, fresh=True))
    assert not (asked.out / "margins.npz").exists()
    assert (asked.out / "notes.txt").exists()


@pytest.mark.parametrize("name", ["../train.npz", "notes.txt"])
def test_a_manifest_names_files_of_audits_alone(asked, name):
    run_audit(asked)
    text = (asked.out / MANIFEST).read_text().replace("suspects.csv", name)
    (asked.out / MANIFEST).write_text(text)
    with pytest.raises(AuditFolderError, match="does not belong to an audit"):
        open_audit(asked.out)


def test_an_opened_audit_reads_no_other_ones_curves(asked, other):
    run_audit(asked)
    opened = open_audit(asked.out)
    assert opened.curves["order"].shape[1] == opened.record.site.channels
    run_audit(other)
    with pytest.raises(AuditFolderError, match="another audit than when it was opened"):
        _ = opened.samples


def test_a_state_that_a_kill_left_beside_a_finished_audit_goes_with_the_next_run(asked):
    run_audit(asked)
    unfinished = UnfinishedAudit(asked.out, lambda: None)
    unfinished.prepare()
    unfinished.write("any", {}, "ablation")
    run_audit(asked)
    assert not unfinished.folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
@pytest.mark.parametrize("name", [".unfinished", ".unfinished/result"])
def test_nothing_is_removed_or_written_behind_a_link(name, asked, tmp_path):
    mine = tmp_path / "mine" / "folder" / "file"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    place = asked.out / name
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "mine")
    for request in (asked, replace(asked, fresh=True)):
        with pytest.raises(AuditFolderError, match=f"{name} is a link.* another out"):
            run_audit(request)
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [mine]


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
@pytest.mark.parametrize("moment", ["scratch", "result"])
def test_nothing_is_written_behind_a_link_that_is_put_there_while_a_run_works(
    moment, asked, tmp_path, monkeypatch
):
    mine = [
        tmp_path / "mine" / name for name in ("masked.onnx", "ablation.npz", "result/audit.json")
    ]
    mine[-1].parent.mkdir(parents=True)
    for file in mine:
        file.write_text("mine")

    measure = Ablation.measure

    def put_link(*_) -> None:
        (asked.out / ".unfinished").rename(tmp_path / "moved")
        (asked.out / ".unfinished").symlink_to(tmp_path / "mine")

    if moment == "scratch":
        monkeypatch.setattr(Ablation, "measure", lambda self, job: put_link() or measure(self, job))
    else:
        monkeypatch.setattr("analyzer.audit.run.write_suspects", put_link)
    with pytest.raises(AuditFolderError, match=r"\.unfinished was removed or replaced"):
        run_audit(asked)
    assert {path for path in (tmp_path / "mine").rglob("*") if path.is_file()} == set(mine)
    assert {file.read_text() for file in mine} == {"mine"}


@pytest.mark.parametrize("error", [OSError("gone"), OutputError("gone"), KeyError("gone")])
def test_any_error_in_a_folder_that_was_moved_says_that(error, tmp_path):
    out = tmp_path / "out"

    def fail(*, moved: bool) -> None:
        with locked(out):
            if moved:
                out.rename(tmp_path / "elsewhere")
                out.mkdir()
            raise error

    with pytest.raises(AuditFolderError, match="out was moved, removed or replaced"):
        fail(moved=True)
    with pytest.raises(type(error), match="gone"):
        fail(moved=False)


def test_a_folder_in_the_way_is_named_and_the_old_result_stays(asked, other):
    run_audit(asked)
    before = (asked.out / MANIFEST).read_bytes()
    in_the_way = asked.out / "margins.npz"
    in_the_way.mkdir()
    for _ in range(2):
        with pytest.raises(OutputError, match="is a folder, where a file"):
            run_audit(other)
        assert (asked.out / MANIFEST).read_bytes() == before
    in_the_way.rmdir()
    assert verify_audit(asked.out).passed
    run_audit(other)
    assert read_record(asked.out).model.path == str(other.model)


def test_an_audit_whose_lock_is_lost_leaves_what_another_run_has_there(asked, monkeypatch):
    unfinished = asked.out / ".unfinished"
    measure = Interpolation.measure

    def measure_and_lose(self, job):
        (asked.out / ".lock").unlink()
        return measure(self, job)

    monkeypatch.setattr(Interpolation, "measure", measure_and_lose)
    with pytest.raises(AuditFolderError, match="another run may be writing there"):
        run_audit(asked)
    assert os.listdir(asked.out) == [".unfinished"]
    assert (unfinished / "ablation.npz").exists()


def test_an_edited_report_is_found_although_the_manifest_fits(asked):
    run_audit(asked)
    report = asked.out / "report.html"
    text = report.read_text(encoding="utf-8")
    seal(asked.out)
    assert report.read_text(encoding="utf-8") == text
    (asked.out / MANIFEST).unlink()
    report.write_text(text.replace("digits-c0", "digits-c1"), encoding="utf-8")
    from analyzer.audit.result_manifest import entries_of, write_entries

    write_entries(asked.out, entries_of(asked.out, RESULT_FILES))
    failed = [check.name for check in verify_audit(asked.out).checks if not check.passed]
    assert failed == ["report"]


@pytest.mark.parametrize("stage", ["network", "sweep", "read"])
def test_data_that_change_in_mid_run_are_refused(asked, tmp_path, stage):
    with np.load(asked.data) as stored:
        images, labels = stored["images"], stored["labels"]
    from PIL import Image

    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:02}.png")
    changed = False

    def change(told: str, done: int, total: int) -> None:
        nonlocal changed
        if told == stage and not changed:
            changed = True
            for path in (tmp_path / "images").rglob("*.png"):
                Image.fromarray(255 - np.asarray(Image.open(path))).save(path)

    request = replace(asked, data=str(tmp_path / "images"), memory=20_000)
    with pytest.raises(DataError, match="has changed since it was first read"):
        run_audit(request, progress=change)
    assert changed
    assert not request.out.exists()


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
def test_of_one_key_one_identity_may_sign_and_another_not(folder, sign):
    signature, signers = sign("ann")
    key = signers.read_text().removeprefix("ann ")
    signers.write_text(f'git namespaces="git" {key}old valid-before="20200101" {key}ann {key}')
    assert check_signature(folder, signature, signers).sentence == "ann signed manifest.json."
    assert check_signature(folder, signature, signers, "ann").passed
    assert not check_signature(folder, signature, signers, "git").passed
    signers.write_text(f'git namespaces="git" {key}')
    found = check_signature(folder, signature, signers)
    assert not found.passed
    assert "is not permitted for use in signature namespace" in found.sentence


@needs_ssh_keygen
def test_a_damaged_signature_does_not_count(folder, sign):
    signature, signers = sign("ann")
    signature.write_text(signature.read_text().replace("A", "B"))
    assert not check_signature(folder, signature, signers).passed
    signature.write_bytes(bytes(2 << 20))
    assert "too large to be one" in check_signature(folder, signature, signers).sentence
    signature.write_bytes(b"")
    assert not check_signature(folder, signature, signers, "ann").passed


@needs_ssh_keygen
def test_why_a_signature_does_not_count_is_true(folder, sign, tmp_path):
    signature, signers = sign("ann")
    good, allowed = signature.read_bytes(), signers.read_text()
    key = allowed.removeprefix("ann ")
    for content, entry, why in (
        (b"", allowed, "it holds none that ssh-keygen made"),
        ((tmp_path / "ann").read_bytes(), allowed, "it holds none that ssh-keygen made"),
        (good.replace(b"\n", b"\r\n"), allowed, "its lines end in CR and LF"),
        (good[:100], allowed, "ssh-keygen says: "),
        (good, f'ann valid-before="20200101" {key}', "key has expired"),
        (good, "ann\n", "missing key"),
        (good, "", f"its key is not one of {signers}"),
    ):
        signature.write_bytes(content)
        signers.write_text(entry)
        found = check_signature(folder, signature, signers)
        assert not found.passed
        assert why in found.sentence
        assert ("not one of" in found.sentence) == (not entry)


def test_what_is_missing_is_said(folder, tmp_path, monkeypatch):
    there = tmp_path / "there"
    there.write_text("-----BEGIN SSH SIGNATURE-----\n")
    with pytest.raises(AuditFolderError, match=r"nowhere is not a file"):
        check_signature(folder, tmp_path / "nowhere", there)
    with pytest.raises(AuditFolderError, match=r"allowed_signers=.*nowhere is not a file"):
        check_signature(folder, there, tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AuditFolderError, match=r"ssh-keygen, .* is not installed"):
        check_signature(folder, there, there)
    (folder / "manifest.json").unlink()
    assert "no manifest.json" in check_signature(folder, there, there).sentence


def test_a_reader_that_meets_another_result_accuses_neither(asked, other, monkeypatch):
    run_audit(asked)
    replaced = []

    def replacing(*given):
        if not replaced:
            replaced.append(True)
            run_audit(other)
        return read_entries(*given)

    monkeypatch.setattr("analyzer.audit.result_manifest.read_entries", replacing)
    monkeypatch.setattr("analyzer.audit.result_manifest._matches", lambda path, entry: False)
    with pytest.raises(AuditFolderError, match="was replaced while it was being read; read it"):
        open_audit(asked.out)
    with pytest.raises(AuditFolderError, match="it was changed after the audit"):
        open_audit(asked.out)
