"""The tables of the study of many samples, from a made-up row."""

from click.testing import CliRunner

from tools.many_samples_study import PARTS, cost_table, main, quality_table

ROW = {
    **{"samples": "20000", "asked": "default", "searched": "20000", "mixed": "1600"},
    **{"peak_mb": "1234", "pass": "10.0", "ablation": "25", "interpolation": "10"},
    **{"neighbors": "80", "vectors": "15", "search": "60", "twins": "5", "total": "120"},
    "with_twin": "12",
    **{
        f"{figure}_{part}_{score}": "0.5"
        for figure in ("auc", "first")
        for part in PARTS
        for score in ("suspects", "log_probability")
    },
}


def test_costs_are_in_units_of_one_pass():
    *_, line = cost_table([ROW])
    assert "| 10 s | 2.5 | 1.0 | 8.0 | 6.0 | 0.5 | 12.0 | 1,234 MB |" in line


def test_each_score_has_a_row_for_all_parts():
    header, _, *rows = quality_table([ROW | {"auc_all_suspects": "0.987"}])
    assert [row.split(" | ")[2] for row in rows] == ["suspects", "log-probability"]
    assert "| 0.99 / 0.50 |" in rows[0]
    assert all(row.count("|") == header.count("|") for row in rows)


def test_a_folder_without_the_network_is_refused(tmp_path):
    done = CliRunner().invoke(main, ["measure", str(tmp_path), str(tmp_path / "many.csv")])
    assert done.exit_code != 0
    assert "has no network fashion-clean-n10000-03" in str(done.exception)
