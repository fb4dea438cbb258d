"""Gaps of single classes in an audit: made from its files, kept, verified, shown."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

import model_zoo
from analyzer.audit import assemble_record, read_record, run_audit, verify_audit
from analyzer.audit.assemble_record import with_class_gaps
from analyzer.audit.folder import write_record
from analyzer.audit_options import AuditRequest
from analyzer.estimation import ClassLine, class_profiles, read_gap_model, write_gap_model
from analyzer.files import read_arrays
from tools.forged_folders import seal

MODEL = Path(__file__).parents[1] / "fixtures" / "vgg16-older-free.onnx"
LINE = ClassLine(0.9, 0.4, 1.5, 0.9, 0.93, 15, 8000)
GAP = ("gap", "gap_low", "gap_high")


@pytest.fixture(scope="module")
def gap_models(tmp_path_factory):
    """Files of a gap model with a line for classes and of one without."""
    folder = tmp_path_factory.mktemp("models")
    found = read_gap_model(model_zoo.find("any").gap_model)
    paths = {name: folder / f"{name}.json" for name in ("with", "without")}
    write_gap_model(replace(found, class_line=LINE), paths["with"])
    write_gap_model(replace(found, class_line=None), paths["without"])
    return paths


@pytest.fixture(scope="module")
def request_(tmp_path_factory, gap_models):
    folder = tmp_path_factory.mktemp("audit")
    images = np.random.default_rng(0).normal(size=(60, 3, 32, 32)).astype(np.float32)
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    labels = session.run(None, {"input": images})[0].argmax(axis=1)
    labels[::3] = np.random.default_rng(1).integers(0, 3, 20)
    labels[0] = 9  # alone in its class
    np.savez(folder / "train.npz", images=images, labels=labels)
    return AuditRequest(
        anyway=True,
        model=MODEL,
        data=str(folder / "train.npz"),
        out=folder / "audit",
        gap_model=gap_models["with"],
        gap_model_name=str(gap_models["with"]),
        gap_model_named=True,
        device="cpu",
        threads=1,
    )


@pytest.fixture(scope="module")
def audited(request_):
    return run_audit(request_)


def test_gaps_follow_from_the_files_of_the_audit(request_, audited):
    folder = request_.out
    samples = read_arrays(folder / "samples.npz")
    found = class_profiles(
        samples["label"],
        samples["margin"],
        read_arrays(folder / "neighbors.npz")["agreement"][3],
        read_arrays(folder / "interpolation.npz")["hold"],
        {one.index: one.accuracy for one in audited.classes},
    )
    told = [one for one in audited.classes if one.gap is not None]
    assert [one.index for one in told] == found.index.tolist()
    assert [list(one.sureness) for one in told] == found.counts.tolist()
    gap = audited.gap
    wanted = LINE.estimate(found, gap.estimate, inside=gap.inside_range)
    for name, values in zip(GAP, (wanted.estimate, wanted.low, wanted.high), strict=True):
        assert [getattr(one, name) for one in told] == pytest.approx(values.tolist())


def test_a_class_of_one_sample_has_none_and_the_reason_is_said(audited):
    (alone,) = [one for one in audited.classes if one.samples == 1]
    assert (alone.gap, alone.gap_low, alone.gap_high, alone.sureness) == (None, None, None, ())
    assert "2 samples" in audited.no_class_gaps
    assert audited.no_class_gaps.endswith(f"no gap is estimated for {alone.name}.")


def test_the_table_and_the_report_show_them_worst_first(request_, audited):
    with (request_.out / "classes.csv").open(newline="") as file:
        rows = {int(row["index"]): row for row in csv.DictReader(file)}
    for one in audited.classes:
        assert rows[one.index]["gap"] == ("" if one.gap is None else str(one.gap))
    page = (request_.out / "report.html").read_text(encoding="utf-8")
    table = page[page.index('<h2 id="table">') :]
    shown = [int(cell) for cell in re.findall(r"<tr[^>]*><td>(\d+)</td>", table)]
    last = shown[-len(audited.classes) :]
    assert last == [one.index for one in audited.worst_first]
    assert audited.no_class_gaps in table
    gaps = [one.gap for one in audited.worst_first if one.gap is not None]
    assert gaps == sorted(gaps, reverse=True)
    assert f"{gaps[0]:.3f}" in table


def test_verification_passes_and_notices_another_number(request_, audited):
    folder = request_.out
    assert verify_audit(folder, model=MODEL).passed
    first = audited.worst_first[0]
    others = [one for one in audited.classes if one != first]
    for forged, check in (
        (replace(first, gap=first.gap / 2), "gap"),
        (replace(first, sureness=first.sureness[::-1]), "sureness"),
        (replace(first, index=77), "sureness"),
        (replace(first, sureness=(0,) * 10), "sureness"),
        (replace(first, sureness=(-1, *first.sureness[1:])), "sureness"),
        (replace(first, samples=0), "gap"),
    ):
        classes = sorted([forged, *others], key=lambda one: one.index)
        write_record(folder, replace(audited, classes=tuple(classes)))
        seal(folder)
        failed = {one.name for one in verify_audit(folder).checks if not one.passed}
        assert check in failed
    write_record(folder, audited)
    seal(folder)


def test_another_gap_model_changes_them_without_counting_again(request_, gap_models, audited):
    without = gap_models["without"]
    other = replace(request_, gap_model=without, gap_model_name=str(without))
    again = run_audit(other)
    assert all(one.gap is None and one.gap_low is None for one in again.classes)
    assert [one.sureness for one in again.classes] == [one.sureness for one in audited.classes]
    assert again.no_class_gaps == "The gap model 'any' does not estimate single classes."
    assert verify_audit(request_.out).passed
    assert run_audit(request_).classes == audited.classes


def test_gaps_that_were_removed_are_noticed_and_estimated_again(request_, audited):
    without_gaps = [replace(one, gap=None, gap_low=None, gap_high=None) for one in audited.classes]
    for plain, check in (
        (without_gaps, "gap"),
        ([replace(one, sureness=()) for one in without_gaps], "sureness"),
    ):
        write_record(request_.out, replace(audited, classes=tuple(plain), no_class_gaps=""))
        seal(request_.out)
        failed = [one.name for one in verify_audit(request_.out).checks if not one.passed]
        assert check in failed
    assert run_audit(request_).classes == audited.classes
    assert read_record(request_.out).no_class_gaps == audited.no_class_gaps


def test_a_gap_model_that_is_gone_keeps_no_gaps_that_it_did_not_estimate(request_, audited):
    gone = replace(request_, gap_model=None, gap_model_named=False)
    inputs = SimpleNamespace(gap_model=None)
    plain = tuple(replace(one, gap=None, gap_low=None, gap_high=None) for one in audited.classes)
    found = replace(audited, gap=None, classes=plain, no_class_gaps="")
    assert assemble_record._with_gap(found, gone, inputs, audited) == audited
    other = (replace(plain[0], sureness=plain[0].sureness[::-1]), *plain[1:])
    kept = assemble_record._with_gap(replace(found, classes=other), gone, inputs, audited)
    assert kept.gap is None
    assert "is not there any more" in kept.no_gap
    assert all(one.gap is None for one in kept.classes)


def test_a_gap_model_that_is_back_estimates_again(request_, audited, tmp_path):
    shutil.copytree(request_.out, tmp_path / "audit")
    here = replace(request_, out=tmp_path / "audit", interpolation_samples=30)
    lost = run_audit(replace(here, gap_model=None, gap_model_named=False))
    assert lost.gap is None
    (failed,) = [one for one in verify_audit(here.out).checks if not one.passed]
    assert (failed.name, failed.sentence.partition(". ")[2]) == (
        "gap",
        "If it was gone then, audit again with it: nothing is counted again.",
    )
    assert run_audit(here).gap is not None
    assert verify_audit(here.out).passed


def test_without_a_measure_the_reason_is_said(gap_models, audited):
    model = read_gap_model(gap_models["with"])
    sections = {name: one for name, one in audited.sections.items() if name != "neighbors"}
    found = with_class_gaps(replace(audited, sections=sections), model)
    assert all(one.gap is None for one in found.classes)
    assert found.no_class_gaps.endswith("and neighbors was not measured.")


def test_without_an_estimate_for_the_network_there_is_none_for_its_classes(gap_models, audited):
    model = read_gap_model(gap_models["with"])
    found = with_class_gaps(replace(audited, gap=None, no_gap="So."), model)
    assert all(one.gap is None for one in found.classes)
    assert found.no_class_gaps == ""
