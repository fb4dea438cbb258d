"""Which samples are listed as suspicious, the files that list them, and what the report shows."""

import csv
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_commands import BUNDLED
from PIL import Image

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
from analyzer.files import read_arrays
from analyzer.measures.ablation.measure import Ablation
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.output_files import write_arrays
from tools.forged_folders import rewrite_record, seal

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
    survival=0.5,
    log_probability=-1.5,
    suspicion=4.25,
    wrong_probability=0.75,
    likely=None,
    likely_name="",
    agreement=None,
    hold=0.125,
    depths=None,
    agreement_images=0.1,
    agreement_first=None,
    agreement_third=None,
    agreement_two_thirds=None,
    neighbors="dog ×6, cat ×4",
    twin="other \n.png",
    twin_index=15,
    twin_label_name="dog",
    twin_distance=0.0,
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
    assert len(found) == result.suspects == 10
    assert [one.rank for one in found] == list(range(1, 11))
    names = [one.name for one in found[:2]]
    assert {Path(name).stem for name in names} == {f"{number:03}" for number in WRONG}
    assert all((folders / name).is_file() for name in names)
    for one in found[:2]:
        assert one.label_name == Path(one.name).parts[0]
        assert one.predicted == one.other == one.likely == (one.label - 1) % 10
        assert one.likely_name == str(one.likely)
        assert one.wrong_probability > 0.5
        assert one.neighbors.split(" ")[0] == one.likely_name
    assert [one.suspicion for one in found] == sorted((o.suspicion for o in found), reverse=True)
    samples = read_samples(request_.out)
    votes = read_arrays(request_.out / "neighbors.npz")
    place = {index: place for place, index in enumerate(samples.index.tolist())}
    for one in found:
        here = place[one.index]
        assert one.label == samples.label[here]
        assert one.log_probability == pytest.approx(samples.scores.log_probability[here], rel=1e-5)
        assert one.survival == pytest.approx(samples.ascending[here] / 49, rel=1e-5)
        assert one.agreement == pytest.approx(votes["agreement"][:4, here].mean(), rel=1e-5)
        assert one.agreement_third == pytest.approx(votes["agreement"][2, here], rel=1e-5)
        near = samples.label[votes["nearest"][here]]
        counts = dict(part.split(" ×") for part in one.neighbors.split(", "))
        assert counts == {str(label): str((near == label).sum()) for label in set(near)}
    assert verify_audit(request_.out).passed


def test_the_report_shows_their_pictures_without_the_data(request_):
    doubtful = run_audit(request_).doubtful_labels
    page = (request_.out / "report.html").read_text(encoding="utf-8")
    assert f"Of all labels, {doubtful:.1%} are more likely wrong than right. It is a list" in page
    # Ten suspects with three neighbors each, of which some are the same.
    assert page.count('src="data:image/png;base64,') == page.count("src=") == 40
    assert "Samples to look at" in page
    assert "neighbors: " in page
    assert 10 < len(read_thumbnails(request_.out)) < 40
    assert render_report(request_.out).read_text(encoding="utf-8") == page


def test_names_of_samples_are_escaped(audit):
    bad = "<script>alert(1)</script>\"'&"
    text = ("name", "label_name", "predicted_name", "other_name", "likely_name", "neighbors")
    names = dict.fromkeys(text, bad)
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
    assert 24 < len(read_thumbnails(request_.out)) <= 24 * 4
    assert run_audit(replace(request_, suspects=0)).suspects == 0
    assert not (request_.out / SUSPECTS).exists()
    assert not (request_.out / THUMBNAILS).exists()
    page = (request_.out / "report.html").read_text(encoding="utf-8")
    assert "Samples to look at" not in page
    assert "<img" not in page
    assert run_audit(replace(request_, suspects=10**6)).suspects == 200
    assert run_audit(replace(request_, suspects="all")).suspects == 200
    listed = read_suspects(request_.out)
    assert sorted(one.index for one in listed) == list(range(200))
    assert verify_audit(request_.out).passed


def test_samples_that_are_no_images_are_listed_without_pictures(tmp_path, request_):
    with np.load(BUNDLED / "train.npz") as stored:
        images = stored["images"][:60, None].astype(np.float32) / 255
        np.savez(tmp_path / "train.npz", images=images, labels=stored["labels_c0"][:60])
    run_audit(replace(request_, data=str(tmp_path / "train.npz"), preprocess=PreprocessOptions()))
    page = (request_.out / "report.html").read_text(encoding="utf-8")
    assert page.count("<figcaption>") == 3  # 5 % of 60
    assert "<img" not in page
    assert not (request_.out / THUMBNAILS).exists()


def test_how_many_are_listed(audit):
    samples = read_samples(audit)  # of 400 samples
    assert how_many(None, samples) == 20
    assert how_many(7, samples) == 7
    assert how_many(0, samples) == 0
    assert how_many(10**6, samples) == how_many("all", samples) == 400
    for size, wanted in ((12_345, 123), (1_000, 20), (200, 10), (60, 3), (3, 1), (0, 0)):
        assert how_many(None, replace(samples, label=np.zeros(size, int))) == wanted


def test_what_is_written_is_read(audit):
    pictures = {12: b"\x89PNG and more"}
    write_suspects(audit, [ONE], pictures)
    assert read_suspects(audit) == (ONE,)
    assert read_thumbnails(audit) == pictures
    with (audit / SUSPECTS).open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["name"] == ONE.name
    assert float(row["suspicion"]) == 4.25


def test_what_was_there_goes_away(tmp_path):
    write_suspects(tmp_path, [ONE], {12: b"png"})
    write_suspects(tmp_path, [], {})
    assert list(tmp_path.iterdir()) == []
    assert read_suspects(tmp_path) == ()
    assert read_thumbnails(tmp_path) == {}


@pytest.mark.parametrize("name", ["x", "07", "²", "9" * 5000])
def test_pictures_of_no_sample_are_refused(tmp_path, name):
    write_arrays(tmp_path / THUMBNAILS, {name: np.zeros(3, np.uint8)})
    with pytest.raises(AuditFolderError, match="is no index of a sample"):
        read_thumbnails(tmp_path)
    write_arrays(tmp_path / THUMBNAILS, {"7": np.zeros(3)})
    with pytest.raises(AuditFolderError, match="uint8 of shape"):
        read_thumbnails(tmp_path)


@pytest.mark.parametrize("text", ["", "rank,name\n1,a\n", "not,a,list\n1,2,3\n"])
def test_a_damaged_list_is_refused(tmp_path, text):
    write_suspects(tmp_path, [ONE], {})
    path = tmp_path / SUSPECTS
    path.write_text(text or path.read_text().replace("4.25", "much"), encoding="utf-8")
    with pytest.raises(AuditFolderError, match=r"suspects\.csv is not a list of suspects"):
        read_suspects(tmp_path)


def test_without_neighbors_or_hold_the_list_says_why_it_is_sorted_otherwise(request_):
    for option, name in (
        ("neighbor_samples", "neighbors"),
        ("interpolation_samples", "interpolation"),
    ):
        run_audit(replace(request_, out=request_.out / name, **{option: 0}))
        found = read_suspects(request_.out / name)
        assert all(one.wrong_probability is one.likely is one.depths is None for one in found)
        assert (found[0].agreement is None) == (name == "neighbors")
        assert (found[0].hold is None) == (name == "interpolation")
        page = (request_.out / name / "report.html").read_text(encoding="utf-8")
        assert f"but {name} w" in page
        assert "switched off" in page
        assert verify_audit(request_.out / name).passed


def test_where_a_part_was_looked_at_the_others_have_no_probability(request_):
    result = run_audit(replace(request_, suspects="all", neighbor_samples=100))
    looked_at = result.sections["neighbors"].samples
    found = read_suspects(request_.out)
    assert sum(one.wrong_probability is not None for one in found) == looked_at < 200
    unknown = [one for one in found if one.wrong_probability is None]
    assert all(one.agreement is None and one.neighbors == "" for one in unknown)
    assert all(one.hold is not None for one in unknown)
    page = (request_.out / "report.html").read_text(encoding="utf-8")
    assert f"Neighbors were looked for of {looked_at} samples" in page
    assert verify_audit(request_.out).passed


def test_an_image_under_two_labels_is_listed_with_its_twin(request_, folders):
    again = folders / "9" / "again.png"
    image = folders / "0" / sorted(path.name for path in (folders / "0").iterdir())[3]
    again.write_bytes(image.read_bytes())
    try:
        result = run_audit(replace(request_, suspects="all"))
    finally:
        again.unlink()
    (pair,) = result.sections["neighbors"].conflicts.pairs
    names = {pair.name, pair.other_name}
    assert {Path(name).name for name in names} == {image.name, "again.png"}
    twins = [one for one in read_suspects(request_.out) if one.twin]
    assert {one.twin for one in twins} == {one.name for one in twins} == names
    assert {one.twin_label_name for one in twins} == {"0", "9"}
    assert [one.twin_distance for one in twins] == [0, 0]
    page = (request_.out / "report.html").read_text(encoding="utf-8")
    assert "One image under two labels" in page
    assert "the same bytes" in page
    assert verify_audit(request_.out).passed


def test_a_changed_list_is_found(request_):
    run_audit(request_)
    found = list(read_suspects(request_.out))
    thumbnails = read_thumbnails(request_.out)
    first = found[0]
    changes = [
        {"label": 9 - first.label},
        {"likely": None},
        {"wrong_probability": 0.5},
        {"agreement_images": 0.5},
        {"neighbors": "3 ×10"},
        {"twin_index": 4},
    ]
    lists = [found[:-1], *([replace(first, **change), *found[1:]] for change in changes)]
    for changed in lists:
        write_suspects(request_.out, changed, thumbnails)
        seal(request_.out)
        failed = [one.name for one in verify_audit(request_.out).checks if not one.passed]
        assert failed == ["suspects"]
    write_suspects(request_.out, found, thumbnails)
    table = (request_.out / SUSPECTS).read_text(encoding="utf-8")
    for text in (table + "\n", table.replace("\n", ",=1+1\n"), table[:-1] + ",x\n"):
        (request_.out / SUSPECTS).write_text(text, encoding="utf-8")
        seal(request_.out)
        (said,) = [one.sentence for one in verify_audit(request_.out).checks if not one.passed]
        assert "has columns or cells besides those of a list" in said
    index, png = next(iter(thumbnails.items()))
    comment = b"tEXtComment\0hidden"
    comment = len(comment[4:]).to_bytes(4) + comment + zlib.crc32(comment).to_bytes(4)
    end = png[:-4] + bytes([png[-4] ^ 1]) + png[-3:]
    for changed in (png[:-1], png + b"<script>", end, png[:33] + comment + png[33:], b""):
        write_suspects(request_.out, found, {**thumbnails, index: changed})
        seal(request_.out)
        (said,) = [one.sentence for one in verify_audit(request_.out).checks if not one.passed]
        assert said == f"The picture of sample {index} in thumbnails.npz is no whole PNG file."
    for left in ({one: png for one, png in thumbnails.items() if one != index}, {}):
        write_suspects(request_.out, found, left)
        seal(request_.out)
        (said,) = [one.sentence for one in verify_audit(request_.out).checks if not one.passed]
        first = min(set(thumbnails) - set(left))
        assert said.startswith(f"thumbnails.npz lacks the picture of sample {first}.")
    write_suspects(request_.out, found, thumbnails)
    seal(request_.out)
    assert verify_audit(request_.out).passed
    assert read_record(request_.out).suspects == 10
