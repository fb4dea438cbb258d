"""The study of an audit's choices on bundled networks, and what a table of it says."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from cli_commands import BUNDLED

from analyzer.audit import run_audit
from analyzer.audit_options import AuditRequest
from analyzer.data import PreprocessOptions
from analyzer.errors import AnalyzerError
from analyzer.measures.ablation.curve_features import AREA
from tools.evidence import sensitivity
from tools.evidence.sensitivity import VARIATIONS, main, sensitivities, study
from tools.evidence.tables import EVIDENCE, read_table, table_path, write_table

LIMIT = 8
COLUMNS = [
    "population", "network", "corruption", "gap", "variation", "value", "M", "zeta", "kappa",
    "area",
]  # fmt: skip


@pytest.fixture
def manifest(tmp_path):
    """Two bundled networks, as a trained population lists them."""
    networks = json.loads((BUNDLED / "bundle.json").read_text())["networks"]
    rows = [
        {
            "name": network["name"],
            "model": BUNDLED / network["file"],
            "train_data": BUNDLED / "train.npz",
            "keys": f"images,{network['labels']}",
            "train_accuracy": network["train_accuracy"],
            "test_accuracy": network["test_accuracy"],
            "corruption": network["corruption"],
        }
        for network in networks
        if network["name"] in ("digits-c0", "digits-c100")
    ]
    path = tmp_path / "manifest.csv"
    write_table(path, rows)
    return path


@pytest.fixture
def studied(manifest, tmp_path):
    def run(**options):
        given = {"population": "digits", "limit_per_class": LIMIT} | options
        return study(manifest, tmp_path / "table.csv", **given)

    return run


@pytest.fixture
def audits(monkeypatch):
    """Every audit that is asked for from here on."""
    asked = []

    def watched(request):
        asked.append(request)
        return run_audit(request)

    monkeypatch.setattr(sensitivity, "run_audit", watched)
    return asked


def quantities(table, network="digits-c0"):
    return {
        (row["variation"], row["value"]): (row["M"], row["zeta"], row["kappa"])
        for row in table.rows()
        if row["network"] == network
    }


def test_every_choice_has_a_row_and_defaults_are_the_default(studied, audits):
    table = studied()
    assert list(table.columns) == COLUMNS
    assert len(table) == 2 * 23
    assert list(dict.fromkeys(table.texts("variation").tolist())) == list(VARIATIONS)
    for network in ("digits-c0", "digits-c100"):
        found = quantities(table, network)
        default = found["default", "default"]
        same = {key for key, cells in found.items() if cells == default}
        expected = {
            ("samples", str(LIMIT)), ("activation", "4"), ("rank", "l1"), ("chance", "1/K"),
            ("chance", "0.1"),
        }  # fmt: skip
        assert expected <= same
        assert found["rank", "random"] == found["control", "0"] != found["control", "1"]
        assert found["activation", "1"][0] == found["convolution", "2"][0] == "12"
        assert found["chance", "2/K"][1] <= default[1] <= found["chance", "0"][1]
    # Counted again only where the counts are others: the default, 5 samples, seven sites,
    # selectivity and five random orders.
    assert len({request.out for request in audits}) == 2 * 15


def test_rows_are_what_audits_say(studied, tmp_path):
    found = quantities(studied(variations=("convolution", "rank", "chance")), "digits-c100")
    base = AuditRequest(
        anyway=True,
        model=BUNDLED / "digits-c100.onnx",
        data=str(BUNDLED / "train.npz"),
        keys=("images", "labels_c100"),
        preprocess=PreprocessOptions(scale=1 / 255),
        limit_per_class=LIMIT,
        out=tmp_path / "audit",
    )
    for key, changes in (
        (("rank", "selectivity"), {"rank": "selectivity"}),
        (("convolution", "3"), {"site": "node_conv2d_2", "at": "conv"}),
        (("chance", "2/K"), {"chance": 0.2}),
    ):
        result = run_audit(replace(base, fresh=True, **changes))
        assert found[key] == (
            str(result.site.channels),
            f"{round(result.zeta, 6):.10g}",
            f"{round(result.kappa, 6):.10g}",
        )


def test_what_is_there_is_not_audited_again(studied, audits, tmp_path):
    studied(variations=("default", "rank"))
    first = (tmp_path / "table.csv").read_bytes()
    audits.clear()
    assert len(studied(variations=("default", "rank"))) == 2 * 4
    assert audits == []
    assert (tmp_path / "table.csv").read_bytes() == first
    studied(variations=("rank", "control"), networks=1)
    assert {request.seed for request in audits} == {0, 1, 2, 3, 4}
    assert set(first.splitlines()) < set((tmp_path / "table.csv").read_bytes().splitlines())


def test_an_interruption_costs_one_network(studied, audits, tmp_path, monkeypatch):
    def stop(request):
        if request.model.name == "digits-c100.onnx":
            raise KeyboardInterrupt
        return run_audit(request)

    with monkeypatch.context() as patched:
        patched.setattr(sensitivity, "run_audit", stop)
        with pytest.raises(KeyboardInterrupt):
            studied(variations=("rank",))
    kept = read_table(tmp_path / "table.csv")
    assert set(kept.texts("network")) == {"digits-c0"}
    whole = studied(variations=("rank",))
    assert {request.model.name for request in audits} == {"digits-c100.onnx"}
    assert whole.rows()[: len(kept)] == kept.rows()


def test_a_table_of_another_population_is_left_alone(studied, tmp_path):
    studied(variations=("default",))
    before = (tmp_path / "table.csv").read_bytes()
    with pytest.raises(AnalyzerError, match=r"table\.csv holds digits-c0 of the population digits"):
        studied(population="glyphs")
    assert (tmp_path / "table.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("column", "said"),
    [("corruption", "no column 'corruption'"), ("test_accuracy", "the gap of digits-c0 is not in")],
)
def test_what_the_manifest_lacks_is_named(studied, manifest, column, said):
    rows = [{k: v for k, v in row.items() if k != column} for row in read_table(manifest).rows()]
    write_table(manifest, rows)
    with pytest.raises(AnalyzerError, match=said):
        studied(variations=("default",))


def test_the_command_prints_what_the_table_says(manifest, tmp_path, capsys):
    out = tmp_path / "table.csv"
    arguments = [str(manifest), "--out", str(out), "--name", "digits", "--variations", "chance"]
    assert main([*arguments, "--limit-per-class", "3", "--networks", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["chance", value] for value in ("0", "1/K", "2/K", "0.1")
    ]
    assert main(["nowhere.csv", "--out", str(out)]) == 2
    assert "nowhere.csv cannot be read" in capsys.readouterr().err


def made_up(path, *, networks, kappa):
    """A population whose ζ is the gap within each of two levels, under a second choice −gap."""
    random = np.random.default_rng(0)
    gap = random.random(networks)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for value, sign in (("a", 1), ("b", -1)):
            for i, g in enumerate(gap):
                about = ("p", f"n{i}", i % 2, g + i % 2, "rank", value, 8)
                writer.writerow((*about, 0.5 + sign * g / 4, kappa, 1 - (g + i % 2) / 3))
    return read_table(path)


def test_correlations_by_choice(tmp_path):
    one, other = sensitivities(made_up(tmp_path / "t.csv", networks=40, kappa=0.3))
    assert (one.variation, one.value, one.networks, one.kappa) == ("rank", "a", 40, 0.3)
    assert one.zeta_within == pytest.approx(1)
    assert other.zeta_within == pytest.approx(-1)
    assert 0 < one.zeta_r < 0.9
    assert one.zeta_r == pytest.approx(-other.zeta_r)
    # κ is the same for all networks: neither correlates, nor can a line be fitted.
    assert (one.kappa_r, one.kappa_within, one.out_of_fold_r) == (None, None, None)
    assert one.cells()[-2] == "–"
    # The area follows the gap of all networks exactly.
    assert (one.area_r, one.area_within) == (pytest.approx(-1), pytest.approx(-1))
    assert one.area_out_of_fold_r == pytest.approx(1)


def test_of_few_networks_no_correlation_is_stated(tmp_path):
    (one, _) = sensitivities(made_up(tmp_path / "t.csv", networks=4, kappa=0.3))
    assert (one.zeta_r, one.zeta_within, one.out_of_fold_r) == (None, None, None)
    assert one.zeta == pytest.approx(0.5 + 0.25 * np.random.default_rng(0).random(4).mean())


@pytest.mark.parametrize("path", sorted(EVIDENCE.glob("sensitivity-*.csv")), ids=lambda p: p.stem)
def test_committed_tables_are_of_the_networks_beside_them(path):
    table = read_table(path)
    assert path.stat().st_size < 200_000
    (population,) = set(table.texts("population"))
    networks = {
        row["name"]: row for row in read_table(table_path(EVIDENCE, "networks", population)).rows()
    }
    counted = table.where(table.texts("variation") == "default").rows()
    assert counted
    values = table.where(table.texts("variation") == "samples").texts("value")
    # Of a table made with fewer samples only the gap is that of the networks' own.
    columns = {"gap": "gap"}
    if "all" in values:
        columns |= {"zeta": "zeta", "kappa": "kappa", "area": AREA}
    for row in counted:
        for column, own in columns.items():
            assert float(row[column]) == pytest.approx(
                float(networks[row["network"]][own]), abs=2e-6
            )
