"""`onnx-gap audit --test-data`: the measured gap beside the estimate."""

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import analyzer
from analyzer.audit import read_record
from analyzer.audit.folder import write_record
from analyzer.audit.verdict import NOT_JUDGEABLE, judge
from analyzer.measures import unmasked_predictions
from analyzer.measures.test_data.measure import TestData
from tools.forged_folders import seal


@pytest.fixture
def test_samples(digits):
    """Half of the samples shifted by a pixel: new images; the other half are training images."""
    images, labels = digits["images"].copy(), digits["labels"].copy()
    images[::2] = np.roll(images[::2], 1, axis=2)
    labels[0] = (labels[0] + 1) % 10  # one that is wrong for certain
    return images, labels


@pytest.fixture
def arguments(network, train, save, test_samples):
    images, labels = test_samples
    test = save("test.npz", images=images, labels=labels)
    return (
        *("audit", network, "--data", train, "--preprocess", "none", "--out", "audit"),
        *("--test-data", test),
    )


def test_the_measured_gap_is_that_of_the_plain_network(
    onnx_gap, arguments, network, test_samples, digits
):
    shown = onnx_gap(*arguments, "--json")
    assert shown.code == 0
    images, labels = test_samples
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    fed = images[:, None].astype(np.float32)  # with the preset "none", as they are
    scores = session.run(None, {session.get_inputs()[0].name: fed})[0]
    right = (scores.argmax(axis=1) == labels).mean()
    top5 = (np.argsort(-scores, axis=1)[:, :5] == labels[:, None]).any(axis=1).mean()
    found = shown.json["test"]
    assert found["accuracy"] == pytest.approx(right)
    assert found["top5"] == pytest.approx(top5)
    fed = digits["images"][:, None].astype(np.float32)
    trained = session.run(None, {session.get_inputs()[0].name: fed})[0]
    among = (np.argsort(-trained, axis=1)[:, :5] == digits["labels"][:, None]).any(axis=1)
    assert found["train_top5"] == pytest.approx(among.mean())
    assert found["gap"] == pytest.approx(shown.json["accuracy"] - right)
    assert found["samples"] == 60
    assert found["in_training"] == 30
    with np.load("audit/test.npz") as stored:
        np.testing.assert_array_equal(stored["named"], scores.argmax(axis=1))
    assert onnx_gap("verify", "audit").code == 0


def test_a_later_run_keeps_it_and_other_test_data_are_run(onnx_gap, arguments, save, test_samples):
    first = onnx_gap(*arguments, "--json").json
    assert onnx_gap(*arguments[:-2], "--suspects", 3, "--json").json["test"] == first["test"]
    images, _ = test_samples
    with np.load("audit/test.npz") as stored:
        named = stored["named"][:20]
    save("test.npz", images=images[:20], labels=named)  # the same name, other samples
    again = onnx_gap(*arguments, "--json").json
    assert again["test"]["samples"] == 20
    assert again["test"]["accuracy"] == again["test"]["top5"] == 1  # every label comes first
    assert again["zeta"] == first["zeta"]
    Path(arguments[-1]).unlink()
    kept = onnx_gap(*arguments[:-2], "--suspects", 4, "--json").json
    assert kept["test"] == again["test"]
    assert onnx_gap(*arguments, "--fresh").code == 2  # named, and not there


def test_test_data_that_were_touched_or_copied_are_not_run_again(
    onnx_gap, arguments, save, test_samples, monkeypatch
):
    runs = []
    run = unmasked_predictions.predict_test_data

    def counted(*given, **options):
        runs.append(given)
        return run(*given, **options)

    monkeypatch.setattr(unmasked_predictions, "predict_test_data", counted)
    first = onnx_gap(*arguments, "--json").json["test"]
    os.utime(arguments[-1], (1, 1))
    touched = onnx_gap(*arguments, "--json").json["test"]
    assert touched["fingerprint"] != first["fingerprint"]  # so that they are read once
    assert touched | {"fingerprint": ""} == first | {"fingerprint": ""}
    copy = shutil.copy(arguments[-1], "copy.npz")
    copied = onnx_gap(*arguments[:-1], copy, "--json").json["test"]
    assert copied["source"] == str(copy)
    assert copied["accuracy"] == first["accuracy"]
    assert onnx_gap("verify", "audit").code == 0
    assert len(runs) == 1
    images, labels = test_samples
    for other in ({"images": images, "labels": 9 - labels}, {"images": 255 - images}):
        save("test.npz", **{"images": images, "labels": labels, **other})
        assert onnx_gap(*arguments, "--json").json["test"]["accuracy"] != first["accuracy"]
    assert len(runs) == 3


def test_what_could_not_be_read_of_touched_test_data_is_tried_again(
    onnx_gap, arguments, class_folders
):
    arguments = (*arguments[:-1], class_folders, "--skip-bad", "--json")
    whole = (class_folders / "3" / "a.png").read_bytes()
    (class_folders / "3" / "a.png").write_bytes(b"no image")
    first = onnx_gap(*arguments).json["test"]
    os.utime(class_folders / "3" / "a.png", (1, 1))
    assert len(first["skipped"]) == 1
    assert onnx_gap(*arguments).json["test"]["skipped"] == first["skipped"]
    (class_folders / "3" / "a.png").write_bytes(whole)
    assert onnx_gap(*arguments).json["test"]["samples"] == first["samples"] + 1


def test_a_limit_can_be_held_against_it(onnx_gap, arguments):
    measured = onnx_gap(*arguments, "--json").json["test"]["gap"]
    limit = (*arguments, "--gate", "measured", "--max-gap")
    assert onnx_gap(*limit, 2 * measured + 0.001).code == 0
    shown = onnx_gap(*limit, 2 * measured - 0.001)  # half of them are training samples
    assert shown.code == 4
    assert "30 of the 60 test samples are training samples, too" in shown.out
    shown = onnx_gap(*limit, measured - 0.001, "--json")
    assert shown.code == 1
    assert shown.json["verdict"]["limits"][0]["figure"] == pytest.approx(measured)


@pytest.mark.parametrize("finished", [False, True])
def test_training_samples_measure_no_gap(onnx_gap, arguments, train, finished):
    if finished:  # the training samples have to be read again
        assert onnx_gap(*arguments[:-2]).code == 0
    shown = onnx_gap(*arguments[:-1], train, "--gate", "measured", "--max-gap", 0.9)
    assert shown.code == 4
    assert "All test samples are training samples" in shown.out


@pytest.mark.parametrize("labels_alone", [False, True])
def test_training_samples_that_are_stored_otherwise_are_found(
    onnx_gap, network, train, digits, tmp_path, labels_alone
):
    if labels_alone:  # without top-5, which the training samples are run again for
        model = onnx.load(network)
        scores = model.graph.output[0].name
        model.graph.node.append(onnx.helper.make_node("ArgMax", [scores], ["class"], axis=1))
        del model.graph.output[:]
        kind = onnx.TensorProto.INT64
        model.graph.output.append(onnx.helper.make_tensor_value_info("class", kind, ["N", 1]))
        network = tmp_path / "labels.onnx"
        onnx.save(model, network)
    for number, (image, label) in enumerate(zip(digits["images"], digits["labels"], strict=True)):
        folder = tmp_path / "test" / f"{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    shown = onnx_gap(
        *("audit", network, "--data", train, "--preprocess", "none", "--out", "audit"),
        *("--test-data", tmp_path / "test", "--gate", "measured", "--max-gap", 0.9, "--json"),
        *("--interpolation-samples", 0, "--neighbor-samples", 0),
    )
    assert shown.json["test"]["in_training"] == shown.json["test"]["samples"] == 60
    assert (shown.json["test"]["top5"] is None) == labels_alone
    assert shown.code == 4


def test_test_samples_that_nobody_compared_are_compared_before_they_are_judged(
    onnx_gap, arguments, train
):
    run = (*arguments[:-1], train, "--gate", "measured", "--max-gap", 0.9)
    first = onnx_gap(*run, "--json").json
    record = read_record("audit")
    section = dataclasses.replace(record.sections["test"], in_training=None)
    record = dataclasses.replace(record, sections={**record.sections, "test": section})
    verdict = judge(record)
    assert verdict.outcome == NOT_JUDGEABLE
    assert "It is not known how many" in verdict.sentence
    write_record(Path("audit"), dataclasses.replace(record, verdict=verdict))
    seal(Path("audit"))
    assert onnx_gap(*run, "--json").json["test"] == first["test"]


def test_the_report_shows_what_is_confused_and_warns_of_training_images(onnx_gap, arguments):
    shown = onnx_gap(*arguments)
    assert "the measured gap is" in shown.out
    assert "30 of them are among the training samples, too" in shown.out
    text = Path("audit/report.html").read_text(encoding="utf-8")
    assert 'id="test"' in text
    assert ("outside the interval" in shown.out) == ("interval that does not hold it" in text)
    head = text.split('id="caution"')[0]
    assert "Measured on the <a" in head
    assert "30 of the 60 test samples are among the training samples, too" in head
    assert "30 of the test samples are training samples, too" in text


def test_a_verdict_by_the_measured_gap_says_how_many_samples_are_training_samples(
    onnx_gap, arguments
):
    limits = ("--gate", "measured", "--max-gap", 0, "--junit", "audit.xml")
    shown = onnx_gap(*arguments, *limits, "--json")
    assert shown.code == 1
    shared = "30 of the 60 test samples are training samples, too."
    assert shown.json["verdict"]["sentence"].endswith(shared)
    assert shared in Path("audit.xml").read_text(encoding="utf-8")
    assert onnx_gap("verify", "audit").code == 0


@pytest.mark.parametrize("damage", ["accuracy", "train_top5", "in_training", "file"])
def test_verify_finds_what_was_changed(onnx_gap, arguments, damage):
    onnx_gap(*arguments)
    folder = Path("audit")
    if damage != "file":
        record = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
        record["test"][damage] = 61 if damage == "in_training" else 0.5  # of 60
        (folder / "audit.json").write_text(json.dumps(record), encoding="utf-8")
    else:
        with np.load(folder / "test.npz") as stored:
            arrays = dict(stored)
        arrays["named"] = arrays["label"]
        np.savez(folder / "test.npz", **arrays)
    seal(folder)
    shown = onnx_gap("verify", "audit")
    assert shown.code == 1
    assert "FAILED test: " in shown.out or "test: " in shown.out


def test_test_data_that_do_not_fit_are_refused_before_anything_is_counted(
    onnx_gap, arguments, save, digits
):
    save("test.npz", images=digits["images"], labels=digits["labels"] + 40)
    shown = onnx_gap(*arguments)
    assert shown.code == 2
    assert "outside the network's 10 classes" in shown.err


def test_from_python(network, train, save, test_samples, tmp_path):
    images, labels = test_samples
    with pytest.warns(analyzer.AuditWarning):
        result = analyzer.audit_network(
            network, train, tmp_path / "audit", preprocess="none",
            test_data=save("test.npz", images=images, labels=labels),
        )  # fmt: skip
    record = result.record
    assert record.sections["test"].samples == 60
    measured = record.sections["test"].gap
    for low, high, outside in ((-1, 1, False), (measured + 0.01, 1, True)):
        gap = dataclasses.replace(record.gap, low=low, high=high)
        ((_, said), *_) = TestData().summary(dataclasses.replace(record, gap=gap))
        assert said.endswith("outside the interval of the estimate") == outside


def test_an_audit_needs_no_place_for_temporary_files(onnx_gap, arguments, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", "nowhere")
        assert onnx_gap(*arguments).code == 0


def test_test_data_of_other_classes_are_refused(onnx_gap, arguments, tmp_path, digits):
    for data, last in (("trained", "nine"), ("same", "nine"), ("other", "naught")):
        names = [*"abcdefghi", last]
        for image, label in zip(digits["images"], digits["labels"], strict=True):
            folder = tmp_path / data / names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{len(list(folder.iterdir()))}.png")
    quick = ("--limit-per-class", 2, "--interpolation-samples", 0, "--neighbor-samples", 0)
    run = (*arguments[:3], tmp_path / "trained", *arguments[4:7], "fresh", *quick)
    shown = onnx_gap(*run, "--test-data", tmp_path / "other")
    assert shown.code == 2
    assert "Class 9 is 'naught' in" in shown.err
    assert onnx_gap(*run, "--test-data", tmp_path / "same").code == 0
    (tmp_path / "same").rename(tmp_path / "none in common")
    for folder in list((tmp_path / "none in common").iterdir()):
        folder.rename(folder.with_name(f"{folder.name} of them"))
    shown = onnx_gap(*run, "--fresh", "--test-data", tmp_path / "none in common")
    assert shown.code == 2
    assert "Class 0 is 'a of them' in" in shown.err


def test_test_data_of_another_kind_than_the_training_data_are_refused(
    onnx_gap, arguments, train, save, test_samples
):
    images, labels = test_samples
    save("test.npz", images=images[:, None].astype(np.float32), labels=labels)
    shown = onnx_gap(*arguments)
    assert shown.code == 2
    assert "test.npz holds float arrays, which are fed as they are, and " in shown.err
    floats = ("audit", arguments[1], "--data", arguments[-1], "--out", "floats")
    shown = onnx_gap(*floats, "--test-data", train)
    assert shown.code == 2
    assert f"and {train} holds images, which are preprocessed" in shown.err


def test_messages_about_test_data_name_their_own_option(onnx_gap, arguments, save, test_samples):
    images, labels = test_samples
    save("test.npz", a=images, b=labels)
    for keys in ((), ("--test-keys", "a,c")):
        shown = onnx_gap(*arguments, *keys)
        assert shown.code == 2
        assert "Name two of these with --test-keys." in shown.err


@pytest.mark.parametrize("data", ["train", "test"])
def test_data_that_are_replaced_in_mid_run_give_no_result(
    network, train, save, test_samples, tmp_path, data
):
    images, labels = test_samples
    test = save("test.npz", images=images, labels=labels)
    replaced = []

    def at(stage, done, total):  # of top-5, when the test data have been run
        if stage == "training" and not replaced:
            replaced.append(stage)
            Path(train if data == "train" else test).unlink()

    with pytest.raises(analyzer.DataError, match=f"{data}.*npz has changed since it was opened"):
        analyzer.audit_network(
            network, train, tmp_path / "audit", preprocess="none", test_data=test, progress=at,
            interpolation_samples=0, neighbor_samples=0,
        )  # fmt: skip
    assert replaced
    assert not (tmp_path / "audit" / "audit.json").exists()


def test_preprocessing_files_and_class_lists_that_change_in_mid_run(
    network, train, save, test_samples, tmp_path
):
    images, labels = test_samples
    test = save("test.npz", images=images, labels=labels)
    declared = {"do_resize": False, "do_rescale": False, "image_mean": [0.0], "image_std": [1.0]}
    file, names = tmp_path / "preprocessor_config.json", tmp_path / "classes.txt"
    names.write_text("".join(f"class {index}\n" for index in range(10)))

    def audited(out, change=lambda: None):
        def at(stage, done, total):
            if stage == "sweep":
                change()

        file.write_text(json.dumps({**declared, "do_normalize": True}))
        options = {"test_data": test, "interpolation_samples": 0, "neighbor_samples": 0}
        options |= {"preprocess": file, "classes": names, "progress": at}
        return analyzer.audit_network(network, train, tmp_path / out, **options).record.sections[
            "test"
        ]

    undisturbed = audited("undisturbed")
    other = json.dumps({**declared, "do_normalize": True, "image_mean": [200.0]})
    assert audited("audit", lambda: file.write_text(other)).accuracy == undisturbed.accuracy
    with pytest.raises(analyzer.DataError, match=r"classes\.txt has changed since the training"):
        audited("other", lambda: names.write_text(names.read_text().replace("class", "Class")))
