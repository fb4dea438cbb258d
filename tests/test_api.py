"""The public surface, and the examples of its page."""

import csv
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest
from cli_commands import BUNDLED

import analyzer
from analyzer import api
from analyzer.audit.verdict import judge
from analyzer.data import preprocess_options
from analyzer.estimation.gap_model import FittedOn
from analyzer.files import read_json
from analyzer.make_request import audit_request, coerced_options

PAGE = Path(__file__).parents[1] / "docs" / "API.md"


def test_every_exported_name_exists_and_is_listed():
    assert set(analyzer.__all__) <= set(dir(analyzer))
    for name in analyzer.__all__:
        assert getattr(analyzer, name) is not None


def test_importing_it_imports_nothing_heavy():
    code = "import analyzer, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "onnx", "onnxruntime", "PIL", "sklearn", "scipy", "click", "jinja2"}
    assert not heavy & set(run.stdout.split())


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"(<!-- not run -->\n)?```python\n(.*?)```", text, re.DOTALL)
    assert len([left_out for left_out, _ in blocks if not left_out]) >= 5
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", analyzer.AuditWarning)
        for left_out, code in blocks:
            if not left_out:
                exec(compile(code, str(PAGE), "exec"), names)
    assert names["audit"].folder == tmp_path / "audit-c40"
    assert len(names["unsure"]) == 10
    assert names["wrong"]


def test_an_audit_that_was_stopped_says_so_to_another_process(tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (60, 8, 8)).astype(np.uint8)
    with pytest.raises(analyzer.AuditStopped) as raised:
        analyzer.audit_network("zoo:digits-c0", (images, np.arange(60) % 10), tmp_path / "audit")
    stopped = raised.value
    again = pickle.loads(pickle.dumps(stopped))
    assert str(again) == str(stopped)
    assert (again.record, again.report) == (stopped.record, tmp_path / "audit" / "report.html")
    assert (again.verdict, again.accuracy) == (stopped.verdict, stopped.accuracy)
    assert again.look.found.accuracy == stopped.accuracy


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    out = tmp_path_factory.mktemp("api") / "audit"
    with pytest.warns(analyzer.AuditWarning, match="fitted on"):
        return analyzer.audit_network(
            "zoo:digits-c40", out=out, limit_per_class=20, device="cpu", progress=None
        )


def test_a_result_shows_itself_shortly(audit):
    assert re.fullmatch(r"<Audit of zoo:digits-c40: accuracy .*>", repr(audit))
    assert len(repr(audit)) < 250
    shown = audit._repr_html_()
    assert shown.count("<path") >= 3
    assert "<script" not in shown


def _with_record(audit, **changes):
    """The audit with other fields in its record, and its curves, which no longer belong to it."""
    changed = analyzer.Audit(audit.folder, replace(audit.record, **changes))
    object.__setattr__(changed, "curves", audit.curves)
    return changed


def test_a_result_marks_an_estimate_that_is_not_to_be_relied_on(audit):
    gap = audit.gap
    inside = replace(gap, inside_range=True, warnings=gap.warnings[:1])
    outside = replace(gap, inside_range=False, warnings=(gap.warnings[0], "Its ζ is too <low>."))
    learned = tuple(replace(one, accuracy=1.0) for one in audit.record.classes)
    for given, marked in ((inside, False), (outside, True)):
        shown = _with_record(audit, gap=given, classes=learned)
        assert (f"to {gap.high:z.3f}); not dependable; " in repr(shown)) == marked
        page = shown._repr_html_()
        assert (f"to {gap.high:z.3f}); not dependable, see below<" in page) == marked
        assert ("<li>Its ζ is too &lt;low&gt;.</li>" in page) == marked
        assert escape(given.warnings[0]) in page
    unlearned = (replace(learned[0], accuracy=0.0), *learned[1:])
    shown = _with_record(audit, gap=inside, classes=unlearned)
    assert "not dependable" in repr(shown)
    assert "not dependable, see below" in shown._repr_html_()
    shown = _with_record(audit, gap=None)
    assert "gap not estimated; " in repr(shown)
    assert ">not estimated<" in shown._repr_html_()


@pytest.mark.parametrize("limit", [{"max_gap": 1e-9}, {"min_accuracy": 0.0}])
def test_a_result_shows_its_verdict(audit, limit):
    settings = {**audit.record.settings, **limit}
    verdict = judge(replace(audit.record, settings=settings))
    shown = _with_record(audit, settings=settings, verdict=verdict)
    assert f"; {verdict.outcome}; {audit.folder}>" in repr(shown)
    assert escape(verdict.sentence) in shown._repr_html_()
    assert "verdict" not in audit._repr_html_()


def test_what_shows_hostile_names_spells_them_out(audit):
    hostile = "m\x1b]0;b\x07\x9b\u202e\n\udce9"
    model = replace(audit.record.model, path=hostile)
    named = _with_record(audit, model=model, warnings=(hostile,))
    named.folder = Path(f"folder {hostile}")
    shown = [repr(named), str(named), named._repr_html_(), repr(named.record)]
    error = analyzer.DataError(hostile)
    shown += [str(error), str(FittedOn(3, hostile, hostile, {}))]
    with pytest.warns(analyzer.AuditWarning) as warned:
        api._warn(hostile)
    shown += [str(warned[0].message)]
    for text in shown:
        assert r"m\x1b]0;b" in text
        assert not set(text) & set("\x1b\x07\x9b\u202e\n\udce9")
    assert error.message == hostile  # records keep it exactly


def test_a_result_gives_plain_records_and_arrays(audit):
    written = read_json(audit.folder / "audit.json")
    assert audit.to_dict() == written
    assert [entry["zeta"] for entry in audit.classes] == [c["zeta"] for c in written["classes"]]
    assert {len(column) for column in audit.samples.values()} == {200}
    assert audit.curves["descending"].shape == (10, written["site"]["channels"] + 1)
    assert audit.features["zeta"] == audit.zeta == written["zeta"]
    assert audit.features["interpolation_hold_mean"] == written["interpolation"]["hold_mean"]
    assert audit.features["neighbors_error_last"] == written["neighbors"]["layers"][-1]["error"]
    assert audit.gap.estimate == written["gap"]["estimate"]
    with open(audit.folder / "suspects.csv", encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [entry["name"] for entry in audit.suspects] == [row["name"] for row in listed]
    assert [entry["rank"] for entry in audit.suspects] == [*range(1, written["suspects"] + 1)]
    assert {row.keys() == entry.keys() for row, entry in zip(listed, audit.suspects, strict=True)}


@pytest.fixture
def copied(tmp_path, audit):
    """The audit in another folder, which a test may change, as it was opened by a relative path."""
    shutil.copytree(audit.folder, tmp_path / "copy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        yield analyzer.open_audit("copy")


def _replaced_by_another(copied, audit):
    (copied.folder / "manifest.json").unlink()
    for path in copied.folder.iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    analyzer.audit_network("zoo:digits-c40", out=copied.folder, limit_per_class=10, device="cpu")


def _replaced_by_a_stop(copied, audit):
    images = np.zeros((60, 8, 8), np.uint8)
    with pytest.raises(analyzer.AuditStopped):
        analyzer.audit_network("zoo:digits-c0", (images, np.arange(60) % 10), "stopped")
    shutil.rmtree(copied.folder)
    Path("stopped").rename(copied.folder)


@pytest.mark.filterwarnings("ignore::analyzer.AuditWarning")
@pytest.mark.parametrize(
    ("replace_it", "said"),
    [(_replaced_by_another, "another audit than when it was opened"), (_replaced_by_a_stop, "no")],
)
def test_an_audit_whose_folder_holds_another_one_is_refused(copied, audit, replace_it, said):
    replace_it(copied, audit)
    for ask in (
        lambda: copied.curves,
        lambda: analyzer.verify_audit(copied),
        lambda: analyzer.compare_audits(copied, audit),
        lambda: analyzer.compare_audits(audit.folder, copied),
    ):
        with pytest.raises(analyzer.AuditFolderError, match=f"copy holds {said}"):
            ask()


def test_an_audit_that_is_replaced_while_it_is_compared_is_refused(copied, audit):
    def replace_it(stage, done, total):
        manifest = copied.folder / "manifest.json"
        manifest.write_text(manifest.read_text(encoding="utf-8") + " ", encoding="utf-8")

    with pytest.raises(analyzer.AuditFolderError, match="replaced while it was being read"):
        analyzer.compare_audits(copied, audit, progress=replace_it)


def test_an_audit_is_found_from_any_folder(copied, audit, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(copied.samples["label"]) == 200
    assert analyzer.verify_audit(copied).passed
    assert analyzer.compare_audits(copied, audit).zeta.difference == 0


def test_a_file_that_was_changed_is_what_verify_finds_of_an_audit(copied):
    with (copied.folder / "classes.csv").open("a", encoding="utf-8") as file:
        file.write("\n")
    found = analyzer.verify_audit(copied)
    assert next(one.name for one in found.checks if not one.passed) == "files"


def test_arrays_give_what_a_file_gives(tmp_path, audit):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "train.npz", images=images, labels=labels)
    options = {
        "preprocess": {"mean": (0.0,), "std": (1.0,)},
        "gap_model": "zoo:digits",
        "anyway": True,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", analyzer.AuditWarning)
        one = analyzer.audit_network(
            "zoo:digits-c0", (images, labels), tmp_path / "arrays", **options
        )
        other = analyzer.audit_network(
            "zoo:digits-c0", tmp_path / "train.npz", tmp_path / "file", **options
        )
    assert one.record.data.sha256 == other.record.data.sha256
    for name, column in one.samples.items():
        np.testing.assert_array_equal(column, other.samples[name])


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"devise": "cpu"}, TypeError, "no option 'devise'; did you mean device"),
        ({"mean": (0.5,)}, TypeError, "belongs into preprocess={'mean'"),
        ({"input": "a=1"}, TypeError, "it is called inputs"),
        ({"memory": "much"}, analyzer.DataError, "'much' is not a size"),
        ({"neighbor_samples": "some"}, analyzer.DataError, "'some' is not a whole number"),
        ({"interpolation_samples": -2}, analyzer.DataError, "cannot be -2; the least is 0"),
        ({"rank": "taste"}, analyzer.DataError, "rank cannot be 'taste'; choose one of l1"),
        ({"preprocess": "imagnet"}, analyzer.DataError, "imagnet"),
        ({"gap_model": "zoo:nothing"}, analyzer.AnalyzerError, "nothing"),
    ],
)
def test_wrong_options_are_named_by_their_parameter(tmp_path, options, error, said):
    with pytest.raises(error, match=said) as raised:
        analyzer.audit_network("zoo:digits-c0", out=tmp_path / "audit", **options)
    assert "--" not in str(raised.value)
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (3, TypeError, "data is of type int;"),
        (b"train.npz", TypeError, "data is of type bytes;"),
        ({"images": 1, "labels": 2}, TypeError, "data is of type dict;"),
        (np.zeros((2, 8, 8)), TypeError, "data is of type ndarray;"),
        ((1, 2, 3), analyzer.DataError, "data is a tuple of length 3;"),
        ([], analyzer.DataError, "data is a list of length 0;"),
    ],
)
def test_data_of_another_kind_are_refused(tmp_path, audit, wrong, error, said):
    for call in (
        lambda: analyzer.audit_network("zoo:digits-c0", wrong, tmp_path / "audit"),
        lambda: analyzer.verify_audit(audit, data=wrong),
    ):
        with pytest.raises(error, match=f"^{said} .* the pair \\(images, labels\\)"):
            call()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("path", ["\0", "x" * 5000, "a\ud800"])
def test_a_path_that_no_file_can_have_is_bad_input(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    network, table = "zoo:digits-c0", "missing.csv"
    calls = {
        "folder": lambda: analyzer.open_audit(path),
        "model": lambda: analyzer.inspect_network(path),
        "custom_ops": lambda: analyzer.inspect_network(network, custom_ops=path),
        "out": lambda: analyzer.write_masked(network, path),
        "after": lambda: analyzer.compare_audits("missing", Path(path)),
        "page": lambda: analyzer.compare_audits("missing", "missing", page=path),
        "population": lambda: analyzer.fit_gap_model(path),
        "out ": lambda: analyzer.fit_gap_model(table, path),
        "manifest": lambda: analyzer.audit_population(path, "out"),
        "gap_model": lambda: analyzer.verify_audit("missing", gap_model=path),
        "signature": lambda: analyzer.verify_audit("missing", signature=path),
        "data": lambda: analyzer.audit_network(network, path),
        "out  ": lambda: analyzer.audit_network(network, out=path),
        "classes": lambda: analyzer.audit_network(network, classes=path),
        "groups": lambda: analyzer.audit_network(network, groups=path),
        "test_data": lambda: analyzer.audit_network(network, test_data=path),
        "preprocess": lambda: analyzer.audit_network(network, preprocess=path),
        "gap_model ": lambda: analyzer.audit_network(network, gap_model=path),
    }
    for name, call in calls.items():
        with pytest.raises(analyzer.AnalyzerError, match=f"^{name.strip()} cannot be ") as found:
            call()
        assert len(str(found.value)) < 300
        assert str(found.value).isprintable()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("wrong", [None, 0, b"x", []])
def test_what_is_no_path_is_a_type_error_that_names_the_parameter(tmp_path, wrong):
    for name, call in {
        "folder": analyzer.open_audit,
        "model": analyzer.inspect_network,
        "population": analyzer.fit_gap_model,
        "manifest": lambda given: analyzer.audit_population(given, tmp_path / "out"),
        "out": lambda given: analyzer.audit_network("zoo:digits-c0", out=given),
        "before": lambda given: analyzer.compare_audits(given, tmp_path),
    }.items():
        with pytest.raises(TypeError, match=f"^{name} is of type {type(wrong).__name__}[;:]"):
            call(wrong)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("true", [True, 1, np.True_, np.int64(1), np.bool_(1)])
def test_what_stands_for_true(true):
    request = audit_request("zoo:digits-c0", None, "out", keep_twins=true, margins=true)
    assert request.keep_twins is request.margins is True


@pytest.mark.parametrize("switch", ["skip_failed", "page"])
@pytest.mark.parametrize("wrong", ["no", None, [True], np.array([True, False])])
def test_switches_of_a_population_are_true_or_false(tmp_path, switch, wrong):
    with pytest.raises(TypeError, match=f"^{switch} "):
        analyzer.audit_population(tmp_path / "m.csv", tmp_path / "out", **{switch: wrong})


def test_text_replaces_no_data_and_no_networks(tmp_path):
    data, network = tmp_path / "data.npz", tmp_path / "network.onnx"
    np.savez(data, images=np.zeros(3))
    network.write_bytes(b"\x08\x00\x12\x00")
    for path in (data, network):
        before = path.read_bytes()
        with pytest.raises(analyzer.OutputError, match="is no text, so it is not replaced"):
            analyzer.fit_gap_model(BUNDLED / "population.csv", path)
        with pytest.raises(analyzer.OutputError, match="is no text, so it is not replaced"):
            analyzer.compare_audits(tmp_path / "a", tmp_path / "b", page=path)
        assert path.read_bytes() == before


def test_a_site_may_be_given_as_a_path():
    with pytest.raises(analyzer.SiteError, match="nowhere"):
        analyzer.inspect_network("zoo:digits-c0", site=Path("nowhere"))


def test_numbers_that_cannot_be_are_refused(tmp_path):
    table = BUNDLED / "population.csv"
    for wrong in ([0.9], np.array([0.5, 0.9]), "0.9"):
        with pytest.raises(TypeError, match=r"^coverage is of type "):
            analyzer.fit_gap_model(table, coverage=wrong)
    with pytest.raises(analyzer.DataError, match=r"^seed cannot be -1"):
        analyzer.compare_audits(tmp_path, tmp_path, seed=-1)


@pytest.mark.parametrize("name", ["name", "trained_on", "architecture", "features"])
def test_texts_of_a_gap_model_are_texts(tmp_path, name):
    with pytest.raises(TypeError, match=f"^{name} is of type "):
        analyzer.fit_gap_model(BUNDLED / "population.csv", tmp_path / "g.json", **{name: 3})
    assert not [*tmp_path.iterdir()]


def test_preprocessing_of_arrays_is_that_of_lists():
    given = {"resize": np.array([8, 9]), "mean": np.array([0.5, 1]), "img_size": np.int64(8)}
    wanted = {"resize": [8, 9], "mean": [0.5, 1.0], "img_size": 8}
    assert preprocess_options(given) == preprocess_options(wanted)
    assert preprocess_options(analyzer.PreprocessOptions(**given)) == preprocess_options(wanted)


def test_arrays_with_masked_values_are_refused(tmp_path):
    images = np.ma.masked_less(np.arange(256, dtype=np.uint8).reshape(4, 8, 8), 3)
    with pytest.raises(analyzer.DataError, match="data holds masked values"):
        analyzer.audit_network("zoo:digits-c0", (images, [0, 1, 0, 1]), tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "wrong", "error"),
    [
        ("limit_per_class", "3", TypeError),
        ("limit_per_class", float("nan"), TypeError),
        ("device", 0, TypeError),
        ("site", 1.5, TypeError),
        ("keys", 3, TypeError),
        ("test_data", (np.zeros((2, 8, 8)), [0, 1]), TypeError),
        ("progress", "none", TypeError),
        ("max_gap", object(), TypeError),
        ("max_gap", float("nan"), analyzer.DataError),
        ("tolerance", float("inf"), analyzer.DataError),
    ],
)
def test_an_option_of_another_type_is_refused_by_its_name(tmp_path, option, wrong, error):
    with pytest.raises(error, match=f"^{option} is ") as found:
        analyzer.audit_network("zoo:digits-c0", out=tmp_path / "out", **{option: wrong})
    assert str(found.value).endswith(".")
    assert len(str(found.value)) < 120
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.5", "0.5"), (0.5, "0.5"), (2.75, "2.75"), (-3, "-3"), (True, "1"), (2**60, str(2**60)),
        (np.float32(0.5), "0.5"), (np.int64(7), "7"), (1e-300, "1e-300"), (Path("a.npy"), "a.npy"),
    ],
)  # fmt: skip
def test_an_extra_input_is_fed_what_it_is_given(value, text):
    for given in ({"extra": value}, [("extra", value)], [f"extra={text}"], f"extra={text}"):
        request = audit_request("zoo:digits-c0", None, "out", inputs=given)
        assert request.inputs == (("extra", text),)
        assert request.settings()["inputs"] == {"extra": text}


@pytest.mark.parametrize(
    "given", [{"extra": [0.5]}, {"extra": np.zeros(3)}, {"extra": None}, [0.5], [("extra",)]]
)
def test_an_extra_input_that_is_given_no_number_is_refused(given):
    with pytest.raises(TypeError, match=r"^inputs (gives 'extra' a value of|holds a) "):
        audit_request("zoo:digits-c0", None, "out", inputs=given)


def test_images_of_different_shapes_are_bad_input(tmp_path):
    images = [np.zeros((8, 8)), np.zeros((8, 7))]
    with pytest.raises(analyzer.DataError, match=r"^data is no pair of arrays"):
        analyzer.audit_network("zoo:digits-c0", (images, [0, 1]), tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"axis": 1}, analyzer.AnalyzerError, "axis does nothing without site"),
        ({"gate": "estimate"}, analyzer.AnalyzerError, "gate does nothing without max_gap"),
        ({"max_gap": 5}, analyzer.DataError, "max_gap cannot be 5; the most is 1"),
        ({"memory": 0}, analyzer.DataError, "memory cannot be 0; the least is 1"),
        ({"skip_bad": "no"}, TypeError, "skip_bad is of type str"),
        ({"suspects": True}, TypeError, "suspects is of type bool"),
        ({"keep_twins": 2}, TypeError, "keep_twins is of type int; it takes bool"),
        ({"skip_bad": None}, TypeError, "skip_bad is of type NoneType"),
        ({"preprocess": {"invert": "no"}}, analyzer.DataError, "invert cannot be 'no'"),
        ({"preprocess": {"invert": np.array([1, 2])}}, analyzer.DataError, "invert cannot be"),
        ({"preprocess": {"antialias": [0]}}, analyzer.DataError, "antialias cannot be"),
        ({"preprocess": {"channels": np.array([1, 2])}}, analyzer.DataError, "channels="),
        ({"preprocess": {"interpolation": np.array([1, 2])}}, analyzer.DataError, "interpolation="),
        ({"preprocess": {"layout": np.ones(2)}}, analyzer.DataError, "layout="),
        ({"preprocess": {"resize": {8, 9}}}, analyzer.DataError, "resize="),
        ({"preprocess": {"img_size": {8, 9}}}, analyzer.DataError, "img_size="),
        ({"preprocess": {"mean": b"x"}}, analyzer.DataError, "mean="),
        ({"preprocess": {"scale": 10**400}}, analyzer.DataError, "scale="),
        ({"preprocess": {"std": 10**400}}, analyzer.DataError, "std="),
        ({"preprocess": {"preset": "a\0b"}}, analyzer.DataError, "preset cannot be"),
        ({"preprocess": {"preset": "x" * 3000}}, analyzer.DataError, "preset cannot be"),
        ({"preprocess": {"preset": np.ones(2)}}, analyzer.DataError, "preset is of type"),
        (
            {"preprocess": analyzer.PreprocessOptions(preset=Path("a\0b"))},
            analyzer.DataError,
            "preset cannot be",
        ),
        ({"preprocess": {"exif": True}}, analyzer.DataError, "exif=True is for image files"),
    ],
)
def test_an_option_that_would_be_dropped_or_misread_is_refused(tmp_path, options, kind, said):
    with pytest.raises(kind, match=said):
        analyzer.audit_network("zoo:digits-c0", out=tmp_path / "audit", **options)
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize("value", [np.array([1, 2]), {1: 2}, "x"])
def test_numbers_and_texts_are_no_arrays(tmp_path, value):
    for name in ("tolerance", "resamples", "seed"):
        with pytest.raises(TypeError, match=f"^{name} is of type "):
            analyzer.compare_audits(tmp_path, tmp_path, **{name: value})
    with pytest.raises(analyzer.ModelError, match=r"^img_size cannot be "):
        analyzer.inspect_network("zoo:digits-c0", img_size=[value])
    if isinstance(value, str):
        return
    for name in ("model", "gap_model", "signature", "allowed_signers"):
        with pytest.raises(TypeError, match=f"^{name} is of type .*; it takes a path"):
            analyzer.verify_audit(tmp_path, **{name: value})
    with pytest.raises(TypeError, match=r"^page is of type "):
        analyzer.compare_audits(tmp_path, tmp_path, page=value)
    with pytest.raises(TypeError, match=r"^name is of type "):
        analyzer.fit_gap_model(BUNDLED / "population.csv", name=value)
    for name in ("keys", "classes", "fresh"):
        with pytest.raises(TypeError, match=f"^{name} is of type "):
            analyzer.audit_network("zoo:digits-c0", out=tmp_path / "audit", **{name: value})


@pytest.mark.parametrize("name", ["site", "at", "axis", "output", "custom_ops"])
def test_a_site_is_asked_for_by_texts_and_numbers(tmp_path, name):
    given = {"site": "relu", name: np.array([1, 2])}
    for asked in (
        lambda: analyzer.inspect_network("zoo:digits-c0", **given),
        lambda: analyzer.write_masked("zoo:digits-c0", tmp_path / "m.onnx", **given),
    ):
        with pytest.raises(TypeError, match=f"^{name} is of type ndarray"):
            asked()
    assert not [*tmp_path.iterdir()]


def test_a_result_replaces_nothing_that_is_read(tmp_path):
    table = tmp_path / "population.csv"
    table.write_text("name,zeta,kappa,gap\n")
    with pytest.raises(analyzer.OutputError, match="would replace"):
        analyzer.fit_gap_model(table, table)
    with pytest.raises(analyzer.OutputError, match="would replace"):
        analyzer.compare_audits(tmp_path, tmp_path, page=tmp_path / "report.html")
    for tolerance in (float("nan"), 10**400):
        with pytest.raises(analyzer.DataError, match=f"tolerance cannot be {tolerance}"):
            analyzer.compare_audits(tmp_path, tmp_path, tolerance=tolerance)
    assert table.read_text() == "name,zeta,kappa,gap\n"


def test_a_number_of_jobs_from_one_on(tmp_path):
    row = "a,zoo.onnx,train.npz"
    (tmp_path / "manifest.csv").write_text(f"name,model,train_data\n{row}\n")
    for jobs in (0, -3, 1.5):
        with pytest.raises(analyzer.DataError, match="jobs cannot be"):
            analyzer.audit_population(tmp_path / "manifest.csv", tmp_path / "out", jobs=jobs)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(0, 5), (8, 8)])
def test_a_size_that_is_not_run_is_refused(size):
    with pytest.raises(analyzer.ModelError, match="img_size"):
        analyzer.inspect_network("zoo:digits-c0", img_size=size)


def test_numbers_of_numpy_are_taken():
    found = coerced_options(
        {"seed": np.int64(5), "memory": np.uint8(5), "tolerance": np.float32(0.5)}
    )
    assert found == {"seed": 5, "memory": 5, "tolerance": 0.5}
    assert [type(value) for value in found.values()] == [int, int, float]
