"""What an audit that a first look stopped leaves, and how it goes on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import analyzer
from analyzer.audit.folder import RESULT_FILES
from analyzer.audit.result_manifest import entries_of, write_entries

PLAIN = ("--preprocess", "none", "--out", "audit")
SHIFTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture
def by_name(class_folders):
    """Class folders with words for names, which sort otherwise than the network's classes."""
    for number, word in enumerate(SHIFTED):
        (class_folders / str(number)).rename(class_folders / word)
    return class_folders


@pytest.fixture
def renumbered(save, digits):
    return save("wrong.npz", images=digits["images"], labels=(digits["labels"] + 1) % 10)


def test_the_list_on_the_page_sets_the_order(onnx_gap, network, by_name):
    shown = onnx_gap("audit", network, "--data", by_name, *PLAIN)
    assert shown.code == 4
    assert shown.out.splitlines()[-1].split() == ["report", "audit/report.html"]
    assert sorted(path.name for path in Path("audit").iterdir()) == [
        "manifest.json", "report.html", "stopped.json",
    ]  # fmt: skip
    page = Path("audit/report.html").read_text(encoding="utf-8")
    listed = page.split("network's order\">")[1].split("</pre>")[0]
    assert listed.split("\n") == list(SHIFTED)
    Path("classes.txt").write_text(listed, encoding="utf-8")
    done = onnx_gap("audit", network, "--data", by_name, "--classes", "classes.txt", *PLAIN)
    assert done.code == 0, done.err
    assert Path("audit/audit.json").exists()
    assert not Path("audit/stopped.json").exists()
    assert onnx_gap("verify", "audit").code == 0


def test_its_record_is_what_was_seen_and_what_json_prints(onnx_gap, network, renumbered, digits):
    shown = onnx_gap("audit", network, "--data", renumbered, *PLAIN, "--max-gap", 0.5, "--json")
    assert shown.code == 4
    record = json.loads(Path("audit/stopped.json").read_text(encoding="utf-8"))
    assert shown.json == record
    counts = np.zeros((10, 10), int)
    for label, named, samples in record["confusions"]:
        counts[label, named] = samples
    assert counts.sum() == record["data"]["samples"] == len(digits["labels"])
    assert counts.trace() / counts.sum() == record["accuracy"]
    assert record["order"]["named_as"] == [(index - 1) % 10 for index in range(10)]
    assert (record["chance"], record["order"]["by_name"]) == (0.1, False)
    assert record["fed"] == [0, 255]
    assert record["verdict"]["limits"][0]["outcome"] == "not judgeable"
    page = Path("audit/report.html").read_text(encoding="utf-8")
    assert "Number the labels of the data like this" in page
    assert "label in the data" in page


def test_verify_holds_the_record_the_page_and_the_network_against_each_other(
    onnx_gap, network, renumbered
):
    onnx_gap("audit", network, "--data", renumbered, *PLAIN)
    names = ["files", "accuracy", "verdict", "report", "precision", "settings", "other files"]
    names.append("model")
    shown = onnx_gap("verify", "audit", "--json").json
    assert [(one["name"], one["passed"]) for one in shown["checks"]] == [(n, True) for n in names]
    for option, value in (("--data", "nothing.npz"), ("--gap-model", "zoo:any")):
        shown = onnx_gap("verify", "audit", option, value)
        assert shown.code == 2
        assert f"{option} does nothing here: a first look stopped the audit in audit" in shown.err
    file = Path("audit/stopped.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**record, "accuracy": 0.9}), encoding="utf-8")
    shown = onnx_gap("verify", "audit", "--json")
    assert shown.code == 1
    failed = [one["name"] for one in shown.json["checks"] if not one["passed"]]
    assert failed == ["files", "accuracy", "verdict", "report"]
    file.write_text(json.dumps({**record, "confusions": [[0, 99, 1]]}), encoding="utf-8")
    assert "is not the record of a first look" in onnx_gap("verify", "audit").err


def test_what_needs_a_result_says_what_lies_there(onnx_gap, network, renumbered):
    onnx_gap("audit", network, "--data", renumbered, *PLAIN)
    for command in (("report", "audit", "--model-card", "card.md"), ("compare", "audit", "audit")):
        shown = onnx_gap(*command)
        assert shown.code == 2
        assert "a first look stopped the audit, and report.html there says why" in shown.err


def test_a_result_that_is_there_stays(audit, onnx_gap, network, renumbered):
    folder = audit()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shown = onnx_gap(
        *("audit", network, "--data", renumbered, "--preprocess", "none"),
        *("--out", folder, "--fresh", "--json"),
    )
    assert shown.code == 4
    assert shown.json["order"] is not None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_hundred_classes_are_listed_instead_of_a_matrix(onnx_gap, save, tmp_path):
    """A network of one layer names the brightest of 100 pixels, or the one after it."""
    onnx = pytest.importorskip("onnx")
    shift = np.roll(np.eye(100, dtype=np.float32), 1, axis=0)
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 1, 10, 10] image) => (float[N, 100] logits) <float[1, 1, 1, 1] one = {1}> {
            spread = Conv(image, one)
            active = Relu(spread)
            flat = Flatten(active)
            logits = MatMul(flat, shift)
        }"""
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(shift, "shift"))
    onnx.save(model, tmp_path / "wide.onnx")
    images = np.zeros((400, 100), np.uint8)
    labels = np.arange(400) % 100
    images[np.arange(400), labels] = 255
    data = save("wide.npz", images=images.reshape(400, 10, 10), labels=labels)
    shown = onnx_gap("audit", tmp_path / "wide.onnx", "--data", data, *PLAIN)
    assert shown.code == 4, shown.err
    page = Path("audit/report.html").read_text(encoding="utf-8")
    assert "most often confused" in page
    assert 'class="confusions"' not in page
    assert onnx_gap("verify", "audit").code == 0


def test_its_page_is_written_again_from_its_record(onnx_gap, network, renumbered):
    onnx_gap("audit", network, "--data", renumbered, *PLAIN)
    page = Path("audit/report.html")
    before = page.read_bytes()
    for spoil in (page.unlink, lambda: page.write_text("edited", encoding="utf-8")):
        spoil()
        shown = onnx_gap("report", "audit")
        assert (shown.code, shown.out) == (0, "audit/report.html: written\n")
        assert page.read_bytes() == before
    assert onnx_gap("verify", "audit").code == 0
    assert len(list(Path("audit").iterdir())) == 3
    Path("audit/stopped.json").write_text("{}", encoding="utf-8")
    shown = onnx_gap("report", "audit")
    assert shown.code == 2
    assert "it was changed after the audit" in shown.err
    assert page.read_bytes() == before


def test_a_scaling_that_nobody_declared_is_named_and_the_advice_helps(onnx_gap, save, tmp_path):
    """A network that takes pixels of 0 to 255, and sees nothing in what is darker than 100."""
    onnx = pytest.importorskip("onnx")
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 1, 2, 2] image) => (float[N, 4] logits)
        <float[1, 1, 1, 1] one = {1}, float[1] dark = {100}> {
            spread = Conv(image, one)
            bright = Sub(spread, dark)
            active = Relu(bright)
            logits = Flatten(active)
        }"""
    )
    onnx.save(model, tmp_path / "bytes.onnx")
    labels = np.arange(40) % 4
    images = np.eye(4, dtype=np.uint8)[labels].reshape(-1, 2, 2) * 255
    command = ("audit", tmp_path / "bytes.onnx", "--data", save(images=images, labels=labels))
    shown = onnx_gap(*command, "--out", "audit")
    assert shown.code == 4
    advice = "a network that scales them itself takes --preprocess none."
    assert f"so pixels of 0 to 255 were scaled by 1/255: {advice}" in shown.err
    assert onnx_gap("verify", "audit").code == 0
    page = Path("audit/report.html").read_text(encoding="utf-8")
    assert "takes <code>--preprocess none</code>" in page
    declared = onnx_gap(*command, "--scale", "1/255", "--out", "declared")
    assert declared.code == 4
    assert "No preprocessing was declared" not in declared.err
    assert onnx_gap(*command, "--preprocess", "none", "--out", "audit").code == 0


def forged(change):
    """The record in "audit" and its manifest as somebody leaves them who rewrites both."""
    file = Path("audit/stopped.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    change(record)
    file.write_text(json.dumps(record), encoding="utf-8")
    write_entries(file.parent, entries_of(file.parent, RESULT_FILES))


def into(record, path, value):
    """``record`` with ``value`` at a path of names and places, separated by points."""
    *above, last = [int(one) if one.isdigit() else one for one in path.split(".")]
    for one in above:
        record = record[one]
    record[last] = value


FALSE = (
    ("verdict.sentence", "Not judgeable: the server was rebooted."),
    ("verdict.reasons", ["The server was rebooted."]),
    ("verdict.limits", []),
    ("verdict.limits.0.limit", 0.05),
    ("verdict.limits.0.outcome", "pass"),
    ("verdict.outcome", "pass"),
    ("reason", "The server was rebooted."),
    ("chance", 0.05),
    ("order", None),
    ("order.accuracy", 0.5),
    ("order.names", list("abcdefghij")),
    ("order.named_as", list(range(10))),
    ("device.requested", "cuda"),
    ("device.precision", "tf32"),
)


def test_what_does_not_follow_from_what_was_seen_is_found(onnx_gap, network, renumbered, tmp_path):
    onnx_gap("audit", network, "--data", renumbered, *PLAIN, "--max-gap", 0.5)
    shutil.copytree("audit", tmp_path / "kept")
    for path, value in FALSE:
        shutil.rmtree("audit")
        shutil.copytree(tmp_path / "kept", "audit")
        forged(lambda record, path=path, value=value: into(record, path, value))
        onnx_gap("report", "audit")
        shown = onnx_gap("verify", "audit")
        assert shown.code == 1, (path, shown.out, shown.err)


@pytest.mark.parametrize(
    "options",
    [
        ("--min-accuracy", 0.99, "--preprocess", "none"),
        ("--min-accuracy", 0.99, "--limit-per-class", 20, "--preprocess", "none"),
        ("--scale", 1e-9, "--max-gap", 0.3, "--min-accuracy", 0.5),
    ],
)
def test_every_honest_ending_follows_from_what_was_seen(onnx_gap, network, save, digits, options):
    labels = digits["labels"].copy()
    labels[::3] = (labels[::3] * 3 + 1) % 10
    data = save("mixed.npz", images=digits["images"], labels=labels)
    assert onnx_gap("audit", network, "--data", data, *options, "--out", "audit").code in (1, 4)
    shown = onnx_gap("verify", "audit")
    assert shown.code == 0, shown.out


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("chance", 1.5),
        ("chance", -0.4),
        ("accuracy", 2.0),
        ("data.samples", 0),
        ("data.samples", -49),
        ("settings.max_gap", "large"),
        ("confusions", [[0, 0, 2**62], [0, 1, 2**62]]),
    ],
)
def test_a_record_that_no_first_look_leaves_is_refused(onnx_gap, network, renumbered, path, value):
    onnx_gap("audit", network, "--data", renumbered, *PLAIN)
    forged(lambda record: into(record, path, value))
    for command in ("verify", "report"):
        shown = onnx_gap(command, "audit")
        assert shown.code == 2, shown.out
        assert "stopped.json" in shown.err


@pytest.mark.parametrize("name", ["A" * 100_000, "a\0b", "."])
def test_a_recorded_path_that_leads_nowhere_is_not_checked(onnx_gap, network, renumbered, name):
    onnx_gap("audit", network, "--data", renumbered, *PLAIN)
    forged(lambda record: into(record, "model.path", name))
    onnx_gap("report", "audit")
    shown = onnx_gap("verify", "audit")
    assert shown.code == 0, shown.out
    assert "is no file that can be read; name it with --model." in shown.out
    assert len(shown.out) < 2_000


@pytest.mark.parametrize("limits", [{"max_gap": 0.5}, {"min_accuracy": 0.999}])
def test_what_stopped_a_caller_of_the_library_is_verified(onnx_gap, network, digits, limits):
    data = digits["images"], np.roll(digits["labels"], 7)
    with pytest.raises(analyzer.AuditStopped):
        analyzer.audit_network(network, data, "audit", preprocess="none", **limits)
    assert onnx_gap("verify", "audit").code == 0
    Path("audit/curves.npz").write_bytes(b"PK")
    write_entries(Path("audit"), entries_of(Path("audit"), RESULT_FILES))
    found = onnx_gap("verify", "audit")
    assert found.code == 1
    assert "curves.npz is there, and stopped.json tells of nothing" in found.out
