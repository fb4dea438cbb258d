"""classes.csv: a row a class, with what audit.json says of it."""

import csv

from analyzer.audit.folder import CLASSES, read_record
from analyzer.audit.report import class_table_check, html_of, page_of, write_class_table


def rows_of(folder):
    with (folder / CLASSES).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_numbers_read_back_exactly(audit):
    record = read_record(audit)
    write_class_table(audit, record)
    rows = rows_of(audit)
    assert len(rows) == len(record.classes)
    for row, entry in zip(rows, record.classes, strict=True):
        assert (int(row["index"]), row["name"]) == (entry.index, entry.name)
        for name in ("accuracy", "zeta", "kappa"):
            assert float(row[name]) == getattr(entry, name)
        assert (int(row["n0"]), int(row["n0_r"])) == (entry.n0, entry.n0_r)
        assert row["chance_reached"] == ("true" if entry.chance_reached else "false")
        assert row["flags"] == " ".join(entry.flags)


def test_the_report_shows_the_beginning_of_a_long_name_and_has_the_whole(make_audit):
    name = f"3 {'long ' * 800}name"
    html = html_of(page_of(make_audit(names=lambda j: name.replace("3", str(j)))))
    assert f'<span class="called" title="{name}">{name}</span>' in html
    assert "-webkit-line-clamp: 3" in html


def test_names_with_commas_quotes_and_lines_stay_in_their_cell(make_audit):
    names = 'a, "{}"\nb'.format
    folder = make_audit(names=names)
    assert [row["name"] for row in rows_of(folder)] == [names(j) for j in range(10)]
    assert class_table_check(folder, read_record(folder)).passed
