"""Which samples are listed as suspicious, the files that list them, and what the report shows."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_commands import BUNDLED
from PIL import Image
from sealed_audits import rewrite_record, seal

from analyzer.audit import read_record, render_report, run_audit, verify_audit
from analyzer.audit.suspects import (
    SUSPECTS,
    THUMBNAILS,
    Suspect,
    how_many,
    read_suspects,
    read_thumbnails,
    write_suspects,
)
from analyzer.audit_options import AuditRequest
from analyzer.data import PreprocessOptions
from analyzer.errors import AuditFolderError
from analyzer.measures.ablation import Ablation, read_samples

WRONG = (0, 70)  # places of wrong labels among the samples of the fixture

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)

ONE = Suspect(
    rank=1,
    name='folder/ein "Bild", 7.png',
    index=12,
    label=3,
    label_name="cat",
    predicted=3,
    predicted_name="cat",
    other=5,
    other_name="dog",
    score=-0.25,
    log_probability=-1.5,
    suspicion=4.25,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Digits as class folders, two of them in the wrong one."""
    root = tmp_path_factory.mktemp("digits") / "train"
    with np.load(BUNDLED / "train.npz") as stored:
        images, labels = stored["images"][:200], stored["labels_c0"][:200].astype(int)
    labels[list(WRONG)] = (labels[list(WRONG)] + 1) % 10
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (root / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / str(label) / f"{number:03}.png")
    return root


@pytest.fixture
def request_(folders, tmp_path) -> AuditRequest:
    return AuditRequest(
        anyway=True,
        model=BUNDLED / "digits-c0.onnx",
        data=str(folders),
        out=tmp_path / "audit",
        preprocess=PreprocessOptions(preset="none"),
    )


def test_wrong_labels_of_a_folder_come_first(request_, folders):
    result = run_audit(request_)
    found = read_suspects(request_.out)
    assert len(found) == result.suspects == 20
    assert [one.rank for one in found] == list(range(1, 21))
    names = [one.name for one in found[:2]]
    assert {Path(name).stem for name in names} == {f"{number:03}" for number in WRONG}
    assert all((folders / name).is_file() for name in names)
    for one in found[:2]:
        assert one.label_name == Path(one.name).parts[0]
        assert one.predicted == one.other == (one.label - 1) % 10
    assert [one.suspicion for one in found] == sorted((o.suspicion for o in found), reverse=True)
    samples = read_samples(request_.out)
    place = {index: place for place, index in enumerate(samples.index.tolist())}
    for one in found:
        here = place[one.index]
        assert one.label == samples.label[here]
        assert one.log_probability == pytest.approx(samples.scores.log_probability[here], rel=1e-5)
    assert verify_audit(request_.out).passed


def test_the_report_shows_their_pictures_without_the_data(request_):
    run_audit(request_)
    page = (request_.out / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == page.count("src=") == 20
    assert "Samples to look at" in page
    assert len(read_thumbnails(request_.out)) == 20
    assert render_report(request_.out).read_text(encoding="utf-8") == page


def test_names_of_samples_are_escaped(audit):
    bad = "<script>alert(1)</script>\"'&"
    names = {name: bad for name in ("name", "label_name", "predicted_name", "other_name")}
    for predicted in (3, 5):
        rewrite_record(audit, replace(read_record(audit), suspects=1))
        write_suspects(audit, [replace(ONE, **names, predicted=predicted)], {12: PNG})
        seal(audit)
        page = render_report(audit).read_text(encoding="utf-8")
        assert "Samples to look at" in page
        assert "<script" not in page


def test_another_number_is_listed_without_counting_again(request_, monkeypatch):
    run_audit(request_)
    monkeypatch.setattr(Ablation, "measure", lambda *_: pytest.fail("counted again"))
    assert run_audit(replace(request_, suspects=30)).suspects == 30
    assert len(read_suspects(request_.out)) == 30
    assert len(read_thumbnails(request_.out)) == 24
    assert run_audit(replace(request_, suspects=0)).suspects == 0
    assert not (request_.out / SUSPECTS).exists()
    assert not (request_.out / THUMBNAILS).exists()
    page = (request_.out / "report.html").read_text(encoding="utf-8")
    assert "Samples to look at" not in page
    assert "<img" not in page
    assert run_audit(replace(request_, suspects=10**6)).suspects == 200


def test_samples_that_are_no_images_are_listed_without_pictures(tmp_path, request_):
    with np.load(BUNDLED / "train.npz") as stored:
        images = stored["images"][:60, None].astype(np.float32) / 255
        np.savez(tmp_path / "train.npz", images=images, labels=stored["labels_c0"][:60])
    run_audit(replace(request_, data=str(tmp_path / "train.npz"), preprocess=PreprocessOptions()))
    page = (request_.out / "report.html").read_text(encoding="utf-8")
    assert page.count("<figcaption>") == 20
    assert "<img" not in page
    assert not (request_.out / THUMBNAILS).exists()


def test_how_many_are_listed(audit):
    samples = read_samples(audit)  # of 400 samples
    assert how_many(None, samples) == 20
    assert how_many(7, samples) == 7
    assert how_many(0, samples) == 0
    assert how_many(10**6, samples) == 400
    assert how_many(None, replace(samples, label=np.zeros(12_345, int))) == 123


def test_what_is_written_is_read(tmp_path):
    pictures = {12: b"\x89PNG and more"}
    write_suspects(tmp_path, [ONE], pictures)
    assert read_suspects(tmp_path) == (ONE,)
    assert read_thumbnails(tmp_path) == pictures
    with (tmp_path / SUSPECTS).open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["name"] == ONE.name
    assert float(row["suspicion"]) == 4.25


def test_what_was_there_goes_away(tmp_path):
    write_suspects(tmp_path, [ONE], {12: b"png"})
    write_suspects(tmp_path, [], {})
    assert list(tmp_path.iterdir()) == []
    assert read_suspects(tmp_path) == ()
    assert read_thumbnails(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "rank,name\n1,a\n", "not,a,list\n1,2,3\n"])
def test_a_damaged_list_is_refused(tmp_path, text):
    write_suspects(tmp_path, [ONE], {})
    path = tmp_path / SUSPECTS
    path.write_text(text or path.read_text().replace("4.25", "much"), encoding="utf-8")
    with pytest.raises(AuditFolderError, match=r"suspects\.csv is not a list of suspects"):
        read_suspects(tmp_path)


def test_a_changed_list_is_found(request_):
    run_audit(request_)
    found = list(read_suspects(request_.out))
    thumbnails = read_thumbnails(request_.out)
    for changed in (found[:-1], [replace(found[0], label=9 - found[0].label), *found[1:]]):
        write_suspects(request_.out, changed, thumbnails)
        seal(request_.out)
        failed = [one.name for one in verify_audit(request_.out).checks if not one.passed]
        assert failed == ["suspects"]
    assert read_record(request_.out).suspects == 20
