"""`onnx-gap population`"""

import base64
import hashlib
import json
import os
import re
import shutil
import sys

import pytest
from cli_commands import BUNDLED, QUICK, copy_with_name, rows_of

from analyzer.audit import population, read_manifest
from analyzer.audit.folder import read_record
from analyzer.audit.population_result import ReplacedNetworks, write_failures
from analyzer.audit.unfinished_audit import UnfinishedAudit
from analyzer.errors import AnalyzerError, AuditFolderError
from analyzer.estimation import conditions_of, read_population
from analyzer.measures.ablation.curve_features import CURVE_FEATURES


def test_every_network_is_audited_and_tabled(onnx_gap, manifest, tmp_path):
    out = tmp_path / "population"
    arguments = ("population", manifest, "--preprocess", "none", "--out", out)
    shown = onnx_gap(*arguments)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"{out / 'population.csv'}: 2 networks, the gap of 2 is known\n"
    a, b = rows_of(out / "population.csv")
    assert (a["name"], a["width"], float(a["train_accuracy"])) == ("a", "48", 1.0)
    assert float(a["gap"]) == pytest.approx(1.0 - float(a["test_accuracy"]))
    assert float(b["gap"]) == 0.25
    assert a["zeta"] == b["zeta"]
    assert (out / "audits" / "b" / "report.html").is_file()
    counted = json.loads((out / "audits" / "a" / "audit.json").read_text(encoding="utf-8"))
    assert {name: float(a[name]) for name in CURVE_FEATURES} == counted["features"]
    table = read_population(out / "population.csv")
    assert table.hyperparameters == {"width": ("48", "48")}
    conditions = table.conditions(0)
    assert conditions == conditions_of(read_record(out / "audits" / "a"))
    assert (conditions.classes, conditions.accuracy) == (10, 1.0)

    before = (out / "audits" / "a" / "samples.npz").read_bytes()
    assert onnx_gap(*arguments).code == 0
    assert (out / "audits" / "a" / "samples.npz").read_bytes() == before


def test_what_audits_warn_of_is_said_once(onnx_gap, manifest, tmp_path, save, digits):
    save("train-b.npz", images=digits["images"], labels=(digits["labels"] + 1) % 10)
    text = manifest.read_text().replace("b,b.onnx,train.npz", "b,b.onnx,train-b.npz")
    manifest.write_text(text)
    shown = onnx_gap("population", manifest, "--scale", 1, "--out", tmp_path / "population")
    assert shown.code == 0
    (warning,) = shown.err.splitlines()
    assert warning.startswith("Warning: b: 0.0% of 60 training samples are named as labeled")
    again = onnx_gap("population", manifest, "--out", tmp_path / "undeclared")
    assert "Warning: all networks: No preprocessing was declared" in again.err


def test_audits_from_before_there_were_features_are_summed_up_once_more(
    onnx_gap, manifest, tmp_path
):
    out = tmp_path / "population"
    arguments = ("population", manifest, "--preprocess", "none", "--out", out)
    assert onnx_gap(*arguments).code == 0
    table = (out / "population.csv").read_text()
    path = out / "audits" / "a" / "audit.json"
    older = json.loads(path.read_text(encoding="utf-8"))
    del older["features"]
    path.write_text(json.dumps(older))
    counts = (out / "audits" / "a" / "curves.npz").read_bytes()
    assert onnx_gap(*arguments).code == 0
    assert (out / "population.csv").read_text() == table
    assert (out / "audits" / "a" / "curves.npz").read_bytes() == counts


@pytest.fixture
def three(tmp_path, network, train):
    """A manifest of three networks, of which the second is none."""
    for name in "ac":
        copy_with_name(network, tmp_path / f"{name}.onnx")
    (tmp_path / "b.onnx").write_text("no network")
    path = tmp_path / "three.csv"
    rows = "".join(f"{name},{name}.onnx,train.npz\n" for name in "abc")
    path.write_text("name,model,train_data\n" + rows)
    return path


def test_a_place_in_class_folders_that_are_data_is_refused(
    onnx_gap, network, class_folders, tmp_path
):
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"name,model,train_data\na,{network},{class_folders}\n")
    before = sorted(class_folders.rglob("*"))
    for out in (class_folders, class_folders / "3", class_folders / "population"):
        shown = onnx_gap("population", manifest, *QUICK, "--out", out)
        assert (shown.code, "whose folders are classes. Name" in shown.err) == (2, True), shown.err
    assert sorted(class_folders.rglob("*")) == before


def test_the_first_bad_network_ends_the_run_with_a_table_of_those_before_it(
    onnx_gap, three, tmp_path
):
    out = tmp_path / "population"
    shown = onnx_gap("population", three, *QUICK, "--out", out)
    assert (shown.code, shown.out) == (2, "")
    (error,) = shown.err.splitlines()
    assert "The network 'b' could not be audited" in error
    assert "b.onnx is not an ONNX file" in error
    assert f"{out / 'population.csv'} holds the 1 of 3 networks" in error
    assert "--skip-failed" in error
    assert [row["name"] for row in rows_of(out / "population.csv")] == ["a"]
    assert [row["name"] for row in rows_of(out / "failed.csv")] == ["b"]
    assert not (out / "audits" / "b").exists()
    assert not (out / "audits" / "c").exists()


def test_with_skip_failed_the_others_are_audited_and_failures_are_listed(
    onnx_gap, three, tmp_path, network
):
    out = tmp_path / "population"
    arguments = ("population", three, *QUICK, "--skip-failed", "--out", out)
    shown = onnx_gap(*arguments)
    assert shown.code == 1
    assert "2 networks" in shown.out
    warning, failed = shown.err.splitlines()
    assert warning.startswith("Warning: b: ")
    assert failed == (
        f"Failed: 1 of 3 networks could not be audited; {out / 'failed.csv'} says which and why."
    )
    assert [row["name"] for row in rows_of(out / "population.csv")] == ["a", "c"]
    (row,) = rows_of(out / "failed.csv")
    assert row["name"] == "b"
    assert "is not an ONNX file" in row["error"]

    shutil.copy(network, three.parent / "b.onnx")
    assert onnx_gap(*arguments).code == 0
    assert [row["name"] for row in rows_of(out / "population.csv")] == ["a", "b", "c"]
    assert not (out / "failed.csv").exists()


def test_json_has_every_network_and_every_failure(onnx_gap, three, tmp_path):
    out = tmp_path / "population"
    arguments = ("--skip-failed", "--gap-model", "zoo:digits", "--json", "--out", out)
    shown = onnx_gap("population", three, *QUICK, *arguments)
    assert shown.code == 1
    a, c = shown.json["networks"]
    assert (a["name"], c["audit"]) == ("a", "audits/c")
    record = json.loads((out / "audits" / "a" / "audit.json").read_text(encoding="utf-8"))
    assert a["zeta"] == record["zeta"]
    assert a["estimate"] == record["gap"]
    assert a["gap"] is None
    (failed,) = shown.json["failed"]
    assert failed["name"] == "b"


def test_where_nothing_could_be_audited_there_is_no_table(onnx_gap, tmp_path):
    (tmp_path / "b.onnx").write_text("no network")
    (tmp_path / "m.csv").write_text("name,model,train_data\na,b.onnx,t.npz\nb,b.onnx,t.npz\n")
    out = tmp_path / "population"
    shown = onnx_gap("population", tmp_path / "m.csv", "--skip-failed", "--out", out)
    assert shown.code == 2
    assert "None of the 2 networks could be audited" in shown.err
    assert sorted(path.name for path in out.iterdir()) == ["failed.csv"]


def test_where_nothing_could_be_audited_a_table_stays_as_it_was(onnx_gap, manifest, tmp_path):
    out = tmp_path / "population"
    arguments = ("population", manifest, *QUICK, "--html", "--out", out)
    assert onnx_gap(*arguments).code == 0
    table, page = out / "population.csv", out / "population.html"
    finished = table.read_bytes(), page.read_bytes()
    for skip in ((), ("--skip-failed",)):
        shown = onnx_gap(*arguments, "--rank", "selectivity", *skip)
        assert shown.code == 2
        assert f"{table} stays as it was." in shown.err
        assert (table.read_bytes(), page.read_bytes()) == finished


def test_no_row_is_of_a_network_that_failed(onnx_gap, manifest, tmp_path):
    out = tmp_path / "population"
    arguments = ("population", manifest, *QUICK, "--html", "--out", out)
    assert onnx_gap(*arguments).code == 0
    (tmp_path / "b.onnx").unlink()
    shown = onnx_gap(*arguments)
    assert shown.code == 2
    assert "holds the 1 of 2 networks that are done. It has b no more: a row is of" in shown.err
    assert [row["name"] for row in rows_of(out / "population.csv")] == ["a"]
    assert [row["name"] for row in rows_of(out / "failed.csv")] == ["b"]


@pytest.mark.parametrize("other", ["a", "b"])
def test_no_row_is_of_a_network_whose_file_was_replaced(onnx_gap, manifest, tmp_path, other):
    out = tmp_path / "population"
    arguments = ("population", manifest, *QUICK, "--html", "--out", out)
    assert onnx_gap(*arguments).code == 0
    copy_with_name(
        BUNDLED / "digits-c40.onnx", tmp_path / {"a": "network.onnx", "b": "b.onnx"}[other]
    )
    shown = onnx_gap(*arguments)
    assert (shown.code, "differs in the network" in shown.err) == (2, True)
    (left,) = {"a", "b"} - {other}
    assert [row["name"] for row in rows_of(out / "population.csv")] == [left]
    assert f"has {other} no more" in shown.err


def test_a_run_that_stops_keeps_the_rows_that_it_has_not_come_to(onnx_gap, three, tmp_path):
    out = tmp_path / "population"
    onnx_gap("population", three, *QUICK, "--skip-failed", "--out", out)
    table = (out / "population.csv").read_bytes()
    shown = onnx_gap("population", three, *QUICK, "--out", out)
    assert "holds the 1 of 3 networks that are done, and c of an earlier run. Corr" in shown.err
    assert (out / "population.csv").read_bytes() == table
    shutil.rmtree(out / "audits" / "c")
    assert onnx_gap("population", three, *QUICK, "--out", out).code == 2
    assert [row["name"] for row in rows_of(out / "population.csv")] == ["a"]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        ("--limit-per-class", 2),  # as before
        ("--limit-per-class", 2, "--chance", 0.3),
        ("--limit-per-class", 2, "--keep-twins"),
        ("--limit-per-class", 2, "--invert"),
        ("--limit-per-class", 3),
    ],
)
def test_of_those_only_the_rows_that_it_would_write_again(
    onnx_gap, three, tmp_path, options, first
):
    out = tmp_path / "population"
    arguments = ("population", three, "--scale", "1/255", "--out", out)
    onnx_gap(*arguments, "--limit-per-class", 2, "--skip-failed")
    if first:  # nothing is done before it
        header, a, b, c = three.read_text().splitlines()
        three.write_text("\n".join([header, b, a, c]) + "\n")
    table = (out / "population.csv").read_bytes()
    shown = onnx_gap(*arguments, *options)
    assert shown.code == 2
    if first or "--invert" in options or 3 in options:  # b fails, or a is refused: nothing is done
        assert "population.csv stays as it was." in shown.err
        assert (out / "population.csv").read_bytes() == table
    elif len(options) == 2:
        assert [row["name"] for row in rows_of(out / "population.csv")] == ["a", "c"]
        assert "and c of an earlier run. Corr" in shown.err
    else:
        assert [row["name"] for row in rows_of(out / "population.csv")] == ["a"]
        assert "holds the 1 of 3 networks that are done. It has c no more" in shown.err


def test_no_row_is_of_data_that_have_changed(onnx_gap, three, tmp_path, save, digits):
    out = tmp_path / "population"
    save("other.npz", images=digits["images"], labels=digits["labels"])
    text = three.read_text()
    three.write_text(text.replace("c,c.onnx,train.npz", "c,c.onnx,other.npz"))
    onnx_gap("population", three, *QUICK, "--skip-failed", "--out", out)
    assert [row["name"] for row in rows_of(out / "population.csv")] == ["a", "c"]
    save("other.npz", images=digits["images"], labels=(digits["labels"] + 1) % 10)
    shown = onnx_gap("population", three, *QUICK, "--out", out)
    assert (shown.code, "It has c no more" in shown.err) == (2, True)
    assert [row["name"] for row in rows_of(out / "population.csv")] == ["a"]


def test_no_row_is_of_a_network_or_of_files_that_the_manifest_does_not_name(
    onnx_gap, three, tmp_path
):
    out = tmp_path / "population"
    onnx_gap("population", three, *QUICK, "--skip-failed", "--out", out)
    text = three.read_text()
    for other in ("c,a.onnx", "d,c.onnx"):
        three.write_text(text.replace("c,c.onnx", other))
        shown = onnx_gap("population", three, *QUICK, "--out", out)
        assert "holds the 1 of 3 networks that are done. It has c no more" in shown.err
        assert [row["name"] for row in rows_of(out / "population.csv")] == ["a"]
        three.write_text(text)
        onnx_gap("population", three, *QUICK, "--skip-failed", "--out", out)


def test_no_row_is_of_an_audit_before_the_one_that_is_there(onnx_gap, three, tmp_path):
    """As where other options were asked for, and the run was killed before it wrote the table."""
    out = tmp_path / "population"
    onnx_gap("population", three, *QUICK, "--skip-failed", "--out", out)
    table = out / "population.csv"
    _, c = rows_of(table)
    table.write_text(table.read_text().replace(c["score_q10"], "0.123"))
    assert "It has c no more" in onnx_gap("population", three, *QUICK, "--out", out).err


def test_failures_stay_beside_the_table_that_lacks_them_until_there_is_a_whole_one(
    onnx_gap, three, tmp_path, network, monkeypatch
):
    out = tmp_path / "population"
    arguments = ("population", three, *QUICK, "--skip-failed", "--html", "--out", out)
    assert onnx_gap(*arguments).code == 1
    table = (out / "population.csv").read_bytes()
    shutil.copy(network, tmp_path / "b.onnx")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr("analyzer.estimation.write_population", killed)
        assert onnx_gap(*arguments).code == 130
    assert (out / "population.csv").read_bytes() == table
    assert (out / "failed.csv").exists()
    assert not (out / "population.html").exists()
    assert onnx_gap(*arguments).code == 0
    assert {path.name for path in out.iterdir()} == {
        "audits",
        "population.csv",
        "population.html",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,model,train_data,Test Accuracy\na,a.onnx,t,0.5\n", "call it 'test_accuracy'"),
        ("name,model,train_data,\na,a.onnx,t,\n", "no name for column 4"),
        ("name,model,train_data,gap\na,a.onnx,t,0_1\n", "gap is '0_1'"),
        ("name,model,train_data,test_accuracy\na,a.onnx,t,93.5\n", "are fractions"),
        (
            "name,model,train_data,train_accuracy,test_accuracy,gap\na,a.onnx,t,1,0.9,0.5\n",
            "line 2, column 'gap': 0.5 is not train_accuracy − test_accuracy = 0.1",
        ),
    ],
)
def test_manifests_that_would_be_misread_are_refused(tmp_path, text, told):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(AnalyzerError, match=re.escape(told)):
        read_manifest(path)


def test_blanks_in_the_header_and_blank_rows_change_nothing(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("name, model ,train_data, gap\n,,,\na,a.onnx,t,0.5\n")
    (member,) = read_manifest(path)
    assert (member.model, member.gap) == (tmp_path / "a.onnx", 0.5)


def test_what_a_table_would_say_without_a_word_is_said(onnx_gap, tmp_path, network, train):
    shutil.copy(network, tmp_path / "b.onnx")
    path = tmp_path / "manifest.csv"
    path.write_text(
        "name,model,train_data,test_data,train_accuracy,test_accuracy,interpolation_same_50\n"
        "a,network.onnx,train.npz,train.npz,,,0.5\n"
        "b,b.onnx,train.npz,gone.npz,0.2,0.1,0.5\n"
    )
    none = ("--interpolation-samples", 0)
    out = tmp_path / "population"
    shown = onnx_gap("population", path, "--preprocess", "none", *none, "--out", out)
    assert "Warning: a: The test data are the training data" in shown.err
    assert "Warning: b: The test data are not run" in shown.err
    assert "a training accuracy of 0.2, and the audit found 1" in shown.err
    assert "Warning: a; b are the same network" in shown.err
    assert "interpolation_same_50" not in rows_of(out / "population.csv")[0]


def test_a_gap_that_the_measured_accuracies_deny_is_refused(onnx_gap, manifest, tmp_path):
    manifest.write_text(manifest.read_text().replace('"x,y",,', '"x,y",0.01,'))
    shown = onnx_gap("population", manifest, *QUICK, "--out", tmp_path / "population")
    assert (shown.code, shown.out) == (2, "")
    assert "'a' could not be audited: In the manifest, column 'gap': 0.01 is not" in shown.err


def test_failures_hold_nothing_that_steers_a_terminal(tmp_path):
    write_failures({"a": AnalyzerError("There is no data at missing\x1b[2J.npz.")}, tmp_path)
    (row,) = rows_of(tmp_path / "failed.csv")
    assert row == {"name": "a", "error": "There is no data at missing\\x1b[2J.npz."}


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are those of POSIX")
def test_the_note_of_what_was_replaced_is_no_link_and_no_pipe(tmp_path):
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / ".replaced").symlink_to("mine")
    with pytest.raises(AuditFolderError, match="replaced is a link"):
        ReplacedNetworks(tmp_path)
    (tmp_path / ".replaced").unlink()
    os.mkfifo(tmp_path / ".replaced")
    with pytest.raises(AuditFolderError, match="replaced is a pipe"):
        ReplacedNetworks(tmp_path)
    assert (tmp_path / "mine").read_text() == "mine\n"


def test_fresh_audits_again_and_goes_on_where_it_was_interrupted(
    onnx_gap, manifest, tmp_path, monkeypatch
):
    out = tmp_path / "population"
    arguments = ("population", manifest, *QUICK, "--out", out)
    assert onnx_gap(*arguments).code == 0
    written = {name: (out / "audits" / name / "audit.json").stat().st_mtime_ns for name in "ab"}

    def times():
        return {name: (out / "audits" / name / "audit.json").stat().st_mtime_ns for name in "ab"}

    real = population._measured
    audited = []

    def interrupted(member, request):
        audited.append((member.name, request.fresh))
        if member.name == "b" and len(audited) == 2:
            raise KeyboardInterrupt
        return real(member, request)

    monkeypatch.setattr(population, "_measured", interrupted)
    assert onnx_gap(*arguments, "--fresh").code == 130
    first = times()
    assert first["a"] != written["a"]
    assert first["b"] == written["b"]
    assert onnx_gap(*arguments, "--fresh").code == 0
    assert times()["a"] == first["a"]
    assert times()["b"] != written["b"]
    assert audited == [("a", True), ("b", True), ("a", False), ("b", True)]
    assert onnx_gap(*arguments, "--fresh").code == 0
    assert times()["a"] != first["a"]


def test_a_folder_that_was_moved_is_not_made_again(onnx_gap, manifest, tmp_path, monkeypatch):
    out, elsewhere = tmp_path / "in" / "population", tmp_path / "elsewhere"
    real = population._measured

    def moved(member, request):
        if member.name == "b":
            out.parent.rename(elsewhere)
        return real(member, request)

    monkeypatch.setattr(population, "_measured", moved)
    shown = onnx_gap("population", manifest, *QUICK, "--out", out)
    assert (shown.code, f"{out} was moved, removed or replaced" in shown.err) == (2, True)
    assert not out.parent.exists()
    assert [path.name for path in elsewhere.glob("population/audits/*")] == ["a"]


def test_failures_name_options_where_a_command_tells_them(onnx_gap, manifest, tmp_path):
    out = tmp_path / "population"
    arguments = ("population", manifest, *QUICK, "--skip-failed", "--html", "--out", out)
    assert onnx_gap(*arguments).code == 0
    assert read_record(out / "audits" / "a").made.command.startswith("onnx-gap")
    copy_with_name(BUNDLED / "digits-c40.onnx", tmp_path / "network.onnx")
    shown = onnx_gap(*arguments, "--json")
    assert shown.code == 1
    written = [(out / name).read_text() for name in ("failed.csv", "population.html")]
    for text in (shown.out, shown.err, *written):
        assert "pass --fresh to replace it, or name another --out" in text
        assert "fresh=" not in text


def test_a_killed_fresh_run_starts_again_where_the_data_changed_since(
    onnx_gap, manifest, tmp_path, monkeypatch, save, digits
):
    real = UnfinishedAudit.write

    def write(self, key, arrays, measure):
        real(self, key, arrays, measure)
        raise KeyboardInterrupt

    arguments = ("population", manifest, *QUICK, "--fresh", "--out", tmp_path / "out")
    with monkeypatch.context() as interrupting:
        interrupting.setattr(UnfinishedAudit, "write", write)
        assert onnx_gap(*arguments).code == 130
    save(**{**digits, "images": digits["images"] ^ 1})
    shown = onnx_gap(*arguments)
    assert shown.code == 0, shown.err


def test_an_interrupted_fresh_run_takes_a_network_that_was_replaced_meanwhile(
    onnx_gap, manifest, tmp_path, monkeypatch
):
    real = population._measured

    def interrupted(member, request):
        if member.name == "b":
            raise KeyboardInterrupt
        return real(member, request)

    arguments = ("population", manifest, *QUICK, "--fresh", "--out", tmp_path / "out")
    with monkeypatch.context() as interrupting:
        interrupting.setattr(population, "_measured", interrupted)
        assert onnx_gap(*arguments).code == 130
    before = read_record(tmp_path / "out" / "audits" / "a")
    copy_with_name(BUNDLED / "digits-c40.onnx", tmp_path / "network.onnx")
    assert onnx_gap(*arguments).code == 0
    assert read_record(tmp_path / "out" / "audits" / "a").model.sha256 != before.model.sha256


def test_the_page_shows_every_network_and_links_its_report(onnx_gap, three, tmp_path):
    out = tmp_path / "population"
    arguments = ("population", three, *QUICK, "--gap-model", "zoo:digits", "--skip-failed")
    shown = onnx_gap(*arguments, "--html", "--out", out)
    assert str(out / "population.html") in shown.out
    page = (out / "population.html").read_text(encoding="utf-8")
    links = re.findall(r'<a href="(audits/[^"]+)"', page)
    assert links == ["audits/a/report.html", "audits/c/report.html"]
    assert all((out / link).is_file() for link in links)
    assert "1 network could not be audited" in page
    record = json.loads((out / "audits" / "a" / "audit.json").read_text(encoding="utf-8"))
    assert f"{record['gap']['estimate']:.3f}".replace("-", "\N{MINUS SIGN}") in page
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    onnx_gap(*arguments, "--out", out)
    assert not (out / "population.html").exists(), "it would show another table"


def test_names_of_strangers_cannot_leave_their_place_in_the_page(onnx_gap, manifest, tmp_path):
    text = manifest.read_text().replace("width", "<b>width</b>").replace("0.25,48", "0.25,<i>\x1b")
    manifest.write_text(text)
    out = tmp_path / "population"
    assert onnx_gap("population", manifest, *QUICK, "--html", "--out", out).code == 0
    page = (out / "population.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;width" in page
    assert "&lt;i&gt;\\x1b" in page
    assert "<i>\\x1b" not in page


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name,model\na,network.onnx\n", "no column 'train_data'"),
        ("name,model,train_data\n", "names no network"),
        ("name,model,train_data\na,network.onnx,\n", "line 2: the column 'train_data' is empty"),
        ("name,model,train_data\n../a,network.onnx,t.npz\n", "becomes a folder"),
        ('name,model,train_data,test_keys\na,network.onnx,t.npz,"x,y"\n', "but no test_data"),
        *(
            (f"name,model,train_data\n{name},network.onnx,t.npz\n", "becomes a folder")
            for name in ("..", ".", ".hidden", "/a", "a/b", "-rf", "a" * 101, "a\0b", "\x1b[1m")
        ),
        ("name,model,train_data\na,n.onnx,t.npz\nA,n.onnx,t.npz\n", "names 'a' and 'A' twice"),
        ("name,model,train_data,gap\na,n.onnx,t.npz,big\n", "gap is 'big', not a number"),
        ("name,model,train_data,gap\na,n.onnx,t.npz,nan\n", "gap is 'nan', not a number"),
        ("name,model,train_data,gap\na,n.onnx,t.npz,1e308\n", "not a number from -1 to 1"),
        ("name,model,train_data\na,n.onnx,t.npz\na,n.onnx,t.npz\n", "names 'a' twice"),
        ("name,model,train_data\na,n.onnx,t.npz,more\n", "more cells than the header"),
        ("name,model,train_data,gap,gap\na,n.onnx,t.npz,0,1\n", "two columns named 'gap'"),
        ("name,model,train_data,Gap\na,n.onnx,t.npz,0\n", "a column 'Gap', which would be"),
        ("name,model,train_data,Train-Data\na,n.onnx,t.npz,0\n", "less like 'train_data'"),
        ("name,model,train_data,gap,GAP\na,n.onnx,t.npz,0,0\n", "less like 'gap'"),
        ("name,model,train_data,keys\na,n.onnx,t.npz,x\n", "as images,labels"),
    ],
)
def test_errors_of_the_manifest_name_line_and_column(onnx_gap, tmp_path, text, wanted):
    (tmp_path / "manifest.csv").write_text(text)
    shown = onnx_gap("population", tmp_path / "manifest.csv", "--out", tmp_path / "out")
    assert shown.code == 2
    assert wanted in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_manifest_that_is_missing_or_not_text(onnx_gap, network):
    assert "cannot be read" in onnx_gap("population", "nowhere.csv", "--out", "out").err
    shown = onnx_gap("population", network, "--out", "out")
    assert shown.code == 2
    assert "is not UTF-8 text" in shown.err


def test_what_units_were_ranked_by_goes_with_the_table(onnx_gap, manifest, tmp_path):
    out = tmp_path / "population"
    arguments = ("population", manifest, "--preprocess", "none", "--limit-per-class", 3)
    assert onnx_gap(*arguments, "--rank", "selectivity", "--out", out).code == 0
    assert {row["unit_rank"] for row in rows_of(out / "population.csv")} == {"selectivity"}
    # A table serves as the manifest of another audit of the same networks.
    table = tmp_path / "again.csv"
    table.write_text((out / "population.csv").read_text())
    assert onnx_gap("population", table, *arguments[2:], "--out", tmp_path / "again").code == 0
    again = rows_of(tmp_path / "again" / "population.csv")
    assert {row["unit_rank"] for row in again} == {"l1"}


def test_a_manifests_own_columns_of_these_names_give_way_to_what_was_audited(
    onnx_gap, manifest, tmp_path
):
    header, *rows = manifest.read_text().splitlines()
    lines = [header + ",audited_classes", *(row + ",7" for row in rows)]
    manifest.write_text("\n".join(lines) + "\n")
    out = tmp_path / "population"
    arguments = ("--preprocess", "none", "--limit-per-class", 3, "--out", out)
    assert onnx_gap("population", manifest, *arguments).code == 0
    first, _ = rows_of(out / "population.csv")
    assert (first["audited_classes"], first["audited_samples"]) == ("10", "30")
