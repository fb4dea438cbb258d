"""Hostile names on the terminal and in JSON, and readers that meet what strangers wrote."""

import json
import os

import numpy as np
import pytest

from analyzer.cli import terminal
from analyzer.control_characters import json_printable, printable
from analyzer.data import open_data
from analyzer.errors import DataError

HOSTILE = "a\x1b]0;b\x07\x9b\u202e\u2066\n\r\x7f\udce9é"


def test_only_unsafe_characters_are_spelled_out():
    shown = printable(HOSTILE)
    assert shown == r"a\x1b]0;b\x07\x9b\u202e\u2066\x0a\x0d\x7f\udce9é"
    assert printable("ζ ▶ 語\n", keep="\n") == "ζ ▶ 語\n"


def test_json_values_stay_exact():
    document = json_printable(json.dumps({HOSTILE: HOSTILE}, indent=2, ensure_ascii=False))
    assert json.loads(document.encode()) == {HOSTILE: HOSTILE}
    assert not set(document) & set("\u202e\x7f\x1b")


def test_everything_that_prints_cleans(capfd):
    terminal.warn(HOSTILE)
    terminal.complain(HOSTILE)
    terminal.show(HOSTILE)
    terminal.print_facts([("name", HOSTILE)])
    terminal.print_table(("head",), [(HOSTILE,)])
    terminal.print_json([HOSTILE])
    shown = "".join(capfd.readouterr())
    assert shown.count(r"\x1b") == 5
    assert not set(shown) & set("\x1b\x07\x9b\u202e\u2066\r\x7f")


def test_a_label_that_is_no_index_is_a_sentence(tmp_path):
    (tmp_path / "m.csv").write_text(f"path,label\na.png,{2**63}\n")
    with pytest.raises(DataError, match="which is no index of a class"):
        open_data(tmp_path / "m.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_fifo_is_not_opened_and_a_cycle_ends(tmp_path):
    folder = tmp_path / "data" / "0"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "a.png")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    source = open_data(tmp_path / "data")
    assert np.array_equal(source.labels, [0])
    with pytest.raises(DataError, match="not a regular file"):
        source.read(0)
