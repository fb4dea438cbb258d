"""`onnx-gap audit`: results, limits, streams."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from cli_commands import BUNDLED
from PIL import Image

import analyzer
from analyzer.estimation import read_gap_model
from model_zoo import find
from tools.forged_folders import seal

FILES = [
    "audit.json", "classes.csv", "curves.npz", "interpolation.npz", "manifest.json",
    "neighbors.npz", "report.html", "samples.npz", "suspects.csv", "thumbnails.npz",
]  # fmt: skip


def left_in(folder):
    return sorted(item.name for item in folder.iterdir())


def test_a_zoo_network_needs_no_other_argument(onnx_gap):
    shown = onnx_gap("audit", "zoo:digits-c40", "--limit-per-class", 5, "--out", "audit", "--json")
    assert shown.code == 0
    record = shown.json
    assert record["model"]["path"] == record["data"]["source"] == "zoo:digits-c40"
    assert record["gap"]["gap_model_name"] == "zoo:any"
    assert record["data"]["samples"] == 50
    assert record["accuracy"] == 1.0


def test_the_result_is_on_standard_output_and_nothing_else_is_anywhere(onnx_gap, network, train):
    shown = onnx_gap(
        "audit", network, "--data", train, "--preprocess", "none", "--out", "somewhere/audit"
    )
    assert (shown.code, shown.err) == (0, "")
    names = [line.split()[0] for line in shown.out.splitlines()[:-1]]  # but for the caution
    assert names == [
        "network", "data", "accuracy", "ζ", "κ", "interpolation", "neighbors", "gap", "classes",
        "time", "suspects", "report",
    ]  # fmt: skip
    assert "somewhere/audit/report.html" in shown.out
    assert "60 samples of 10 classes" in shown.out


def test_an_estimate_that_is_rounded_to_nothing_has_no_sign(onnx_gap):
    arguments = ("audit", "zoo:digits-c0", "--limit-per-class", 5, "--out", "audit")
    found = onnx_gap(*arguments, "--json").json["gap"]
    found["estimate"] = -0.00004
    record = json.loads(Path("audit/audit.json").read_text(encoding="utf-8"))
    record["gap"] = found
    Path("audit/audit.json").write_text(json.dumps(record), encoding="utf-8")
    seal(Path("audit"))
    shown = onnx_gap(*arguments)
    assert "gap            0.000 estimated" in shown.out


def test_another_precision_than_float32_is_in_the_summary(onnx_gap, network, train):
    arguments = ("audit", network, "--data", train, "--preprocess", "none", "--device", "cpu")
    shown = onnx_gap(*arguments, "--precision", "fp16", "--out", "half")
    assert shown.code == 0
    assert " s on cpu in fp16, " in shown.out
    assert "Counted in fp16" in shown.err
    shown = onnx_gap(*arguments, "--out", "whole")
    assert " s on cpu, " in shown.out


def test_json_is_the_record_and_alone_on_standard_output(audit, onnx_gap, network, train, tmp_path):
    folder = audit()
    assert left_in(folder) == FILES
    shown = onnx_gap(
        "audit", network, "--data", train, "--preprocess", "none", "--out", folder, "--json"
    )
    assert (shown.code, shown.err) == (0, "")
    assert shown.json == json.loads((folder / "audit.json").read_text(encoding="utf-8"))


def test_a_folder_with_another_audit_is_refused_by_what_differs(audit, onnx_gap, network, train):
    folder = audit()
    arguments = ("audit", network, "--data", train, "--out", folder)
    shown = onnx_gap(*arguments, "--preprocess", "mnist", "--img-size", 8)
    assert shown.code == 2
    assert "holds an audit that differs in the preprocessing; pass --fresh" in shown.err
    shown = onnx_gap(*arguments, "--preprocess", "none", "--site", "relu_2", "--seed", 1)
    assert "differs in the site, --seed; pass --fresh" in shown.err


@pytest.mark.parametrize(
    "edited", [b"{}", b"[]", lambda text: text.replace(b'"key": "', b'"key": "0')]
)
def test_an_edited_record_is_named_with_the_way_out(audit, onnx_gap, network, train, edited):
    path = audit() / "audit.json"
    path.write_bytes(edited if isinstance(edited, bytes) else edited(path.read_bytes()))
    again = ("audit", network, "--data", train, "--preprocess", "none", "--out", path.parent)
    shown = onnx_gap(*again)
    assert shown.code == 2
    assert "audit.json is not the" in shown.err
    assert shown.err.rstrip().endswith("Run the audit again with --fresh.")
    assert onnx_gap(*again, "--fresh").code == 0


def test_a_limit_of_a_gap_model_whose_measures_are_switched_off_is_refused(
    onnx_gap, network, train
):
    off = ("--neighbor-samples", 0, "--interpolation-samples", 0)
    limited = ("audit", network, "--data", train, "--preprocess", "none", "--max-gap", 0.3)
    shown = onnx_gap(*limited, *off, "--out", "audit")
    assert shown.code == 2
    assert "switch off interpolation and neighbors" in shown.err
    assert not Path("audit").exists()
    assert onnx_gap(*limited, *off, "--gap-model", "zoo:digits", "--out", "audit").code in (0, 1, 4)


def test_turned_tiff_files_are_pictured_as_the_network_sees_them(onnx_gap, network, train):
    exif = Image.Exif()
    with np.load(train) as stored:
        images, labels = stored["images"], stored["labels"]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = Path(f"turned/{label}/{number}.tif")
        path.parent.mkdir(parents=True, exist_ok=True)
        exif[0x0112] = number % 8 + 1
        Image.fromarray(image).save(path, exif=exif)
    audit = ("audit", network, "--data", "turned", "--preprocess", "none", "--anyway")
    assert "its orientation tag is" in onnx_gap(*audit, "--out", "audit").err
    assert onnx_gap(*audit, "--exif", "--out", "audit").code == 0
    with np.load("audit/thumbnails.npz") as pictures:
        assert len(pictures.files) > 1
    assert onnx_gap("verify", "audit", "--data", "turned").code == 0


def test_classes_in_another_order_are_warned_of(onnx_gap, network, save, digits):
    swapped = np.arange(10)
    swapped[[3, 5]] = 5, 3
    mixed_up = save("swapped.npz", images=digits["images"], labels=swapped[digits["labels"]])
    shown = onnx_gap("audit", network, "--data", mixed_up, "--preprocess", "none", "--out", "audit")
    assert shown.code == 0
    assert "Warning: 2 of 10 classes are no better than chance (10.0%)" in shown.err
    assert "80.0% of all samples are right" in shown.err
    assert "with nothing removed (3, 5)" in shown.err


def test_suspects_are_as_many_as_asked_for(audit, onnx_gap, network, train):
    folder = audit("some", "--suspects", 5)
    assert len((folder / "suspects.csv").read_text(encoding="utf-8").splitlines()) == 1 + 5
    arguments = ("audit", network, "--data", train, "--preprocess", "none", "--out", folder)
    shown = onnx_gap(*arguments, "--suspects", "all")
    assert "60 samples to look at: " in shown.out
    assert "sorted without" not in shown.out
    assert len((folder / "suspects.csv").read_text(encoding="utf-8").splitlines()) == 1 + 60
    shown = onnx_gap(*arguments, "--suspects", 0)
    assert shown.code == 0
    assert not any(line.startswith("suspects") for line in shown.out.splitlines())
    absent = ("suspects.csv", "thumbnails.npz")
    assert left_in(folder) == [name for name in FILES if name not in absent]
    assert onnx_gap(*arguments, "--suspects", -1).code == 2
    assert onnx_gap(*arguments, "--suspects", "most").code == 2
    shown = onnx_gap(*arguments[:-1], "other", "--neighbor-samples", 0)
    assert "(sorted without neighbors and hold: neighbors were switched off)" in shown.out


def test_the_caution_of_an_estimate_is_a_plain_sentence_with_it(onnx_gap):
    shown = onnx_gap("audit", "zoo:digits-c0", "--limit-per-class", 5, "--out", "audit")
    assert "Warning: The gap model" not in shown.err
    networks = read_gap_model(find("any").gap_model).fitted_on.networks
    said = f"The gap model 'any' was fitted on {networks} networks"
    assert shown.out.splitlines()[-1].startswith(said)
    assert "(zoo:any)" in shown.out


def test_data_of_the_zoo_for_a_network_of_ones_own(onnx_gap, network):
    arguments = ("audit", network, "--data", "zoo:digits-c0", "--limit-per-class", 3)
    shown = onnx_gap(*arguments, "--out", "audit", "--json")
    assert shown.code == 0
    assert shown.json["data"]["source"] == "zoo:digits-c0"
    assert shown.json["gap"]["gap_model_name"] == "zoo:any"
    assert not shown.json["gap"]["inside_range"]  # of 3 samples a class out of 130
    shown = onnx_gap(*arguments, "--out", "audit", "--gap-model", "none", "--json")
    assert shown.json["gap"] is None


def test_an_estimate_outlives_a_run_without_its_gap_model(onnx_gap, network, tmp_path):
    shutil.copy(BUNDLED / "gap_model.json", tmp_path / "mine.json")
    arguments = ("audit", network, "--data", "zoo:digits-c0", "--limit-per-class", 3)
    arguments = (*arguments, "--out", "audit", "--json")
    first = onnx_gap(*arguments, "--gap-model", tmp_path / "mine.json").json
    assert first["gap"]["gap_model_name"] == str(tmp_path / "mine.json")
    assert onnx_gap(*arguments, "--suspects", 3).json["gap"] == first["gap"]
    (tmp_path / "mine.json").unlink()
    again = onnx_gap(*arguments, "--suspects", 4).json
    assert again["gap"] == first["gap"]
    assert again["settings"]["gap_model"] == first["settings"]["gap_model"]
    assert onnx_gap("verify", "audit").code == 0
    fresh = onnx_gap(*arguments, "--fresh").json
    assert fresh["gap"]["gap_model_name"] == "zoo:any"


def test_without_the_measures_that_it_needs_there_is_no_default_estimate(onnx_gap, network, train):
    arguments = ("audit", network, "--data", train, "--preprocess", "none", "--out", "audit")
    arguments = (*arguments, "--neighbor-samples", 0, "--json")
    shown = onnx_gap(*arguments)
    assert shown.code == 0
    assert shown.json["gap"] is None
    assert "needs neighbors_error_third_trusted" in shown.json["no_gap"]
    limited = onnx_gap(*arguments, "--max-gap", 0.5)
    assert (limited.code, limited.out) == (2, "")
    assert "these options switch off neighbors, of which the gap model is" in limited.err
    assert onnx_gap(*arguments).json["created"] == onnx_gap(*arguments).json["created"]
    # Named, it is an order: what it needs is measured.
    assert onnx_gap(*arguments, "--gap-model", "zoo:any").json["gap"] is not None


def test_folders_of_images_and_arrays_give_the_same(audit, onnx_gap, network, class_folders):
    shown = onnx_gap(
        "audit", network, "--data", class_folders, "--preprocess", "none", "--out", "b"
    )
    assert shown.code == 0
    folder = audit("a")
    a, b = (np.load(place / "curves.npz") for place in (folder, folder.parent / "here" / "b"))
    assert all(np.array_equal(a[name], b[name]) for name in a.files)


@pytest.mark.parametrize(
    ("limit", "code", "sentence"),
    [
        (["--max-gap", 0.99], 0, ""),
        (["--max-gap", -0.99], 1, "over the limit -0.99."),
        (["--max-gap", 0.06], 1, "over the limit 0.06."),  # the upper end, not the estimate
        (["--max-gap", 0.06, "--gate", "estimate"], 0, ""),
        (["--min-accuracy", 0.9], 0, ""),
        (["--min-accuracy", 1], 0, ""),
    ],
)
def test_limits_that_are_asked_for(onnx_gap, network, finished, limit, code, sentence):
    shown = onnx_gap(*finished, "--json", *limit)
    assert shown.code == code
    assert shown.json["verdict"]["outcome"] == ("fail" if code else "pass")
    assert shown.err.strip().endswith(sentence)
    assert ("Failed: " in shown.err) == bool(code)
    assert onnx_gap("verify", finished[-1]).code == 0


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """An audit of a network of one's own on all of its data, counted once."""
    folder = tmp_path_factory.mktemp("counted")
    model = folder / "network.onnx"
    shutil.copy(BUNDLED / "digits-c0.onnx", model)
    with pytest.warns(analyzer.AuditWarning, match="The gap model 'any'"):
        analyzer.audit_network(model, "zoo:digits-c0", folder / "audit")
    return "audit", model, "--data", "zoo:digits-c0", "--out", folder / "audit"


@pytest.fixture
def finished(counted, tmp_path):
    """The same in a folder of its own."""
    shutil.copytree(counted[-1], tmp_path / "finished")
    return (*counted[:-1], tmp_path / "finished")


def test_what_cannot_be_judged_does_not_pass(onnx_gap, network):
    arguments = ("audit", network, "--data", "zoo:digits-c0", "--limit-per-class", 3)
    arguments = (*arguments, "--out", "audit", "--max-gap", 0.9)
    shown = onnx_gap(*arguments, "--json")
    assert shown.code == 4
    assert shown.json["verdict"]["outcome"] == "not judgeable"
    assert "unlike those that the gap model was fitted on" in shown.err
    assert onnx_gap(*arguments).out.startswith("verdict        Not judgeable: ")
    assert onnx_gap(*arguments, "--not-judgeable", "pass").code == 0
    assert onnx_gap(*arguments, "--not-judgeable", "fail").code == 1
    # Without a limit nothing is judged, and a first look that stops an audit ends it with 4.
    refused = onnx_gap(*arguments[:-2], "--not-judgeable", "pass")
    assert refused.code == 2
    assert "--not-judgeable does nothing without a limit: give --max-gap, " in refused.err


@pytest.fixture
def renumbered(save, digits):
    return save("wrong.npz", images=digits["images"], labels=(digits["labels"] + 1) % 10)


def test_classes_in_another_order_are_recognized_before_anything_is_counted(
    onnx_gap, network, renumbered
):
    arguments = ("audit", network, "--data", renumbered, "--preprocess", "none", "--out", "audit")
    shown = onnx_gap(*arguments, "--max-gap", 0.5, "--json")
    assert shown.code == 4
    assert "the network counts them from 9 on where the data begin with 0" in shown.err
    assert "--anyway" in shown.err
    assert not Path("audit/audit.json").exists()
    verdict = shown.json["verdict"]
    assert verdict["outcome"] == "not judgeable"
    assert [one["name"] for one in verdict["limits"]] == ["max_gap"]


@pytest.mark.parametrize("anyway", [(), ("--anyway",)])
def test_a_network_at_chance_fails_a_limit_of_its_accuracy(onnx_gap, network, renumbered, anyway):
    arguments = ("audit", network, "--data", renumbered, "--preprocess", "none", "--out", "audit")
    options = ("--max-gap", 0.5, "--min-accuracy", 0.5, "--not-judgeable", "pass", "--json")
    shown = onnx_gap(*arguments, *options, *anyway)
    assert shown.code == 1
    verdict = shown.json["verdict"]
    assert verdict["outcome"] == "fail"
    outcomes = {one["name"]: one["outcome"] for one in verdict["limits"]}
    assert outcomes == {"min_accuracy": "fail", "max_gap": "not judgeable"}


def test_an_accuracy_under_the_limit(onnx_gap, network, train):
    shown = onnx_gap(
        *("audit", network, "--data", train, "--mean", 1.5, "--std", 1, "--out", "audit"),
        *("--min-accuracy", 0.99),
    )
    assert shown.code == 1
    assert "under the limit 0.99" in shown.err
    assert not Path("audit/audit.json").exists()
    page = Path("audit/report.html").read_text(encoding="utf-8")
    assert "falls short of the accuracy that was asked for" in page


def test_servers_and_people_get_the_verdict_too(onnx_gap, finished, tmp_path):
    places = ("--junit", "made/gap.xml", "--markdown", "made/page.md")
    shown = onnx_gap(*finished, "--max-gap", 0.06, *places)
    assert shown.code == 1
    suite = ElementTree.parse("made/gap.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    page = Path("made/page.md").read_text(encoding="utf-8")
    assert page.startswith("## ❌ Fail: ")
    assert "../" in page.splitlines()[-1]  # links from there to the audit folder
    assert onnx_gap(*finished, "--max-gap", 0.99, *places).code == 0  # written again
    assert ElementTree.parse("made/gap.xml").getroot().get("failures") == "0"


@pytest.mark.parametrize(
    ("mapped", "code", "count"),
    [(None, 4, "errors"), ("pass", 0, "skipped"), ("fail", 1, "failures")],
)
def test_they_get_it_also_where_a_first_look_stops_the_audit(
    onnx_gap, network, renumbered, tmp_path, monkeypatch, mapped, code, count
):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    shown = onnx_gap(
        *("audit", network, "--data", renumbered, "--preprocess", "none", "--out", "audit"),
        *("--max-gap", 0.5, "--junit", "gap.xml", "--markdown", "auto"),
        *(("--not-judgeable", mapped) if mapped else ()),
    )
    assert shown.code == code
    suite = ElementTree.parse("gap.xml").getroot()[0]
    assert (suite.get("tests"), suite.get(count)) == ("1", "1")
    page = (tmp_path / "summary").read_text(encoding="utf-8")
    assert page.startswith("## ❔ Not judgeable: ")
    assert "the network counts them from 9 on" in page
    assert "Files in audit: report.html, stopped.json." in page
    assert not Path("audit/audit.json").exists()


def test_places_that_cannot_be_written_are_named_before_anything_is_counted(
    onnx_gap, network, train, monkeypatch
):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    arguments = ("audit", network, "--data", train, "--preprocess", "none", "--out", "audit")
    for places, said in (
        (
            ("--markdown", "auto"),
            "--markdown auto adds to the file that $GITHUB_STEP_SUMMARY names",
        ),
        (("--markdown", network / "page.md"), "page.md cannot be written: Not a directory."),
        (("--junit", ""), "It is empty; name a file or folder."),
        (("--junit", train.parent), "cannot be written: it is a folder."),
        (("--junit", "new/" + "x" * 5000), "cannot be written: File name too long."),
        (("--junit", "/dev/urandom"), "/dev/urandom cannot be written: it is a device."),
    ):
        shown = onnx_gap(*arguments, *places)
        assert shown.code == 2
        assert said in shown.err
        assert not Path("audit").exists()


def test_an_accuracy_at_chance_is_a_warning(onnx_gap, network, renumbered):
    arguments = ("audit", network, "--data", renumbered, "--preprocess", "none", "--out", "audit")
    shown = onnx_gap(*arguments, "--anyway")
    assert shown.code == 0
    assert shown.err.startswith(
        "Warning: 0.0% of 60 training samples are named as labeled, no better"
    )
    assert "preprocessing or the order of the classes" in shown.err
    judged = onnx_gap(*arguments, "--max-gap", 0.9, "--json")  # counted already: no second look
    assert judged.code == 4
    assert "no better than chance" in judged.json["verdict"]["sentence"]


def test_undeclared_preprocessing_is_a_warning(onnx_gap, network, train):
    shown = onnx_gap("audit", network, "--data", train, "--out", "audit")
    assert shown.code == 0
    assert shown.err.startswith("Warning: No preprocessing was declared")


def test_unreadable_images_are_left_out_on_demand_and_named(onnx_gap, network, class_folders):
    bad = class_folders / "3" / "c.png"
    bad.write_bytes(bad.read_bytes()[:40])
    arguments = (
        "audit",
        network,
        "--data",
        class_folders,
        "--preprocess",
        "none",
        "--out",
        "audit",
    )
    shown = onnx_gap(*arguments, "--skip-bad", "--json")
    assert shown.code == 0
    assert shown.json["data"]["samples"] == 59
    assert "3/c.png" in shown.json["skipped"][0]
    assert "3/c.png" in shown.err


def test_an_image_over_the_budget_is_left_out_with_the_option_that_raises_it(
    onnx_gap, network, class_folders
):
    Image.new("L", (200, 200)).save(class_folders / "3" / "c.png")
    data = ("--data", class_folders, "--preprocess", "none", "--out", "audit")
    shown = onnx_gap("audit", network, *data, "--skip-bad", "--budget", "pixels=1000")
    assert shown.code == 0
    assert "pass --budget pixels=40000" in shown.err


def test_a_finished_audit_is_not_counted_again(audit, onnx_gap, network, train):
    folder = audit()
    before = (
        (folder / "curves.npz").stat().st_mtime_ns,
        json.loads((folder / "audit.json").read_text(encoding="utf-8")),
    )
    shown = onnx_gap(
        *("audit", network, "--data", train, "--preprocess", "none", "--out", folder, "--json"),
        *("--gap-model", "zoo:digits"),
    )
    assert shown.code == 0
    assert shown.json["seconds"]["sweep"] == before[1]["seconds"]["sweep"]
    assert shown.json["gap"]["gap_model_name"] == "zoo:digits"
    assert left_in(folder) == FILES


def test_options_reach_the_record(onnx_gap, network, train):
    shown = onnx_gap(
        *("audit", network, "--data", train, "--out", "audit", "--json"),
        *("--site", "relu_2", "--scale", 1, "--mean", 0, "--std", 1, "--chance", 0.3),
        *("--limit-per-class", 2, "--seed", 7, "--device", "cpu", "--memory", "1K"),
    )
    assert shown.code == 0, shown.err
    record = shown.json
    assert record["site"]["tensor"] == "relu_2"
    assert record["chance"] == 0.3
    assert record["data"]["samples"] == 20
    assert record["device"] == {"requested": "cpu", "used": "cpu", "precision": "float32"}
    assert record["settings"]["memory"] == 1024
    assert record["data"]["preprocessing"]["scale"] == 1.0


def test_another_ranking_is_said_with_what_it_does_to_the_estimate(onnx_gap):
    arguments = ("audit", "zoo:digits-c0", "--limit-per-class", 3, "--rank", "random")
    assert "ranked by random here" not in onnx_gap(*arguments, "--out", "any").err  # not its matter
    arguments = (*arguments, "--gap-model", "zoo:digits")
    shown = onnx_gap(*arguments, "--out", "audit")
    assert shown.code == 0
    names = [line.split()[0] for line in shown.out.splitlines()[:-1]]
    assert names == [
        "network", "data", "accuracy", "ranking", "ζ", "κ", "interpolation", "neighbors", "gap",
        "time", "suspects", "report",
    ]  # fmt: skip
    assert "ranked by random, not by activity" in shown.out
    assert "by random here, by l1 where the gap model 'digits' was fitted" in shown.err
    assert onnx_gap(*arguments, "--out", "audit", "--json").json["settings"]["rank"] == "random"


def test_interpolation_and_neighbors_take_a_number_of_samples_none_or_all(audit, onnx_gap):
    folder = audit("part", "--interpolation-samples", 20, "--neighbor-samples", "all")
    record = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    assert record["interpolation"]["samples"] == 20
    assert record["neighbors"]["samples"] == 60
    assert record["settings"]["neighbor_samples"] == "all"
    folder = audit("none", "--interpolation-samples", 0, "--neighbor-samples", 0)
    absent = ("interpolation.npz", "neighbors.npz")
    assert left_in(folder) == [name for name in FILES if name not in absent]


@pytest.mark.parametrize("given", ["-1", "some", "1.5", ""])
def test_a_number_of_samples_that_is_none(onnx_gap, network, train, given):
    arguments = ("audit", network, "--data", train, "--out", "audit")
    shown = onnx_gap(*arguments, f"--interpolation-samples={given}")
    assert shown.code == 2
    assert "is not a whole number; write one from 0 on, or all" in shown.err


def test_half_way_and_neighbors_are_a_plain_line_each(audit, onnx_gap, network, train):
    arguments = ("audit", network, "--data", train, "--preprocess", "none", "--out", audit())
    lines = dict(line.split(maxsplit=1) for line in onnx_gap(*arguments).out.splitlines())
    assert "half way to another image of its label, " in lines["interpolation"]
    assert "of 60 samples keep it" in lines["interpolation"]
    assert "of 60 samples as images" in lines["neighbors"]


def test_files_that_hold_something_else_are_told_from_changed_data(
    onnx_gap, network, class_folders, tmp_path
):
    groups, classes = tmp_path / "groups.npy", tmp_path / "classes.txt"
    data = class_folders / "data.csv"
    names = sorted(path.relative_to(class_folders) for path in class_folders.glob("*/*.png"))

    def told(*options):
        ending = ("--preprocess", "none", "--out", tmp_path / "out")
        shown = onnx_gap("audit", network, *options, *ending)
        return shown.err.partition("holds an audit that ")[2].partition("; pass")[0]

    def write(further):
        rows = (f"{name.as_posix()},{(int(name.parts[0]) + further) % 10}\n" for name in names)
        data.write_text("path,label\n" + "".join(rows))

    write(0)
    np.save(groups, np.arange(60) // 3)
    asked = ("--data", data, "--groups", groups)
    assert told(*asked, "--fresh") == ""
    np.save(groups, (np.arange(60) + 1) // 3)
    assert told(*asked) == "differs in --groups"
    write(1)  # no picture is another
    assert told(*asked) == "differs in the training data or their labels"
    write(0)
    data.rename(tmp_path / "data.csv")

    classes.write_text("\n".join("0123456789"))
    asked = ("--data", class_folders, "--classes", classes)
    assert told(*asked, "--fresh") == ""
    classes.write_text("\n".join("0123456798"))
    assert told(*asked) == "differs in --classes"
    (class_folders / "3" / "a.png").unlink()
    classes.write_text("\n".join("0123456789"))
    assert told(*asked) == "differs in the training data or their labels"
