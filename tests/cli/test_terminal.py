"""What people see when standard error is a terminal, and scripts when it is not."""

import io
import re
import sys
import time

import click
import pytest

from analyzer.cli import terminal as terminal_module
from analyzer.cli.terminal import (
    complain,
    print_facts,
    print_json,
    print_table,
    say,
    show_progress,
    warn,
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """terminal(): makes standard error a terminal, and gives what is shown there."""

    def begin():  # in the test itself: pytest puts its own stream back before that
        monkeypatch.setattr(sys, "stderr", Terminal())
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        return sys.stderr

    return begin


def until(shown, wanted):
    """What a bar has drawn, once ``wanted`` is in it."""
    ends = time.monotonic() + 10
    while wanted not in (drawn := click.unstyle(shown.getvalue())):
        assert time.monotonic() < ends, drawn
        time.sleep(0.05)
    return drawn


def test_a_bar_shows_stage_amount_and_time_left(terminal):
    shown = terminal()
    with show_progress() as progress:
        progress("sweep", 10, 40)
        drawn = until(shown, "10/40")
    assert re.search(r"sweep .* 10/40 0:0\d elapsed, 0:0\d left", drawn)


def test_a_bar_takes_one_line_of_a_narrow_terminal(terminal, monkeypatch):
    shown = terminal()
    monkeypatch.setenv("COLUMNS", "80")
    with show_progress() as progress:
        progress("interpolation", 1_250_000, 9_000_000)
        drawn = until(shown, "1,250,000/9,000,000")
    assert re.search(r"interpolation [━╸╺ ]+1,250,000/9,000,000 0:0\d elapsed, 0:0\d left", drawn)


def test_a_finished_bar_does_not_stand_while_other_work_runs(terminal):
    shown = terminal()
    with show_progress() as progress:
        progress("sweep", 40, 40)
        progress("sweep", 40, 40)
        shown.truncate(0)
        assert "40/40" not in until(shown, "working")
        progress("neighbors", 1, 2)
        until(shown, "neighbors")


def test_a_finished_stage_leaves_one_line(terminal):
    shown = terminal()
    with show_progress() as progress:
        progress("sweep", 40, 40)
        progress("sweep", 40, 40)
    assert click.unstyle(shown.getvalue()).count("sweep         40 done in 0:00") == 1


def test_a_warning_has_lines_of_its_own_above_the_bar(terminal):
    shown = terminal()
    with show_progress() as progress:
        progress("sweep", 10, 40)
        until(shown, "10/40")
        warn("the preprocessing is probably wrong")
    lines = [
        re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).split("\r")[-1]
        for line in shown.getvalue().split("\n")
    ]
    assert "Warning: the preprocessing is probably wrong" in [line.rstrip() for line in lines]


def test_without_a_terminal_a_line_comes_every_so_often(monkeypatch):
    monkeypatch.setattr(terminal_module, "LINE_SECONDS", 0.1)
    lines = []
    monkeypatch.setattr(terminal_module.click, "echo", lambda line, err: lines.append(line))

    def wait_for(pattern):
        ends = time.monotonic() + 10
        while not any(re.fullmatch(pattern, line) for line in lines):
            assert time.monotonic() < ends, lines
            time.sleep(0.05)
        lines.clear()

    with show_progress() as progress:
        wait_for(r"working, 0:0\d elapsed")
        progress("sweep", 10, 40)
        wait_for(r"sweep: 10 of 40 \(25%\), 0:0\d elapsed, 0:0\d left")
        progress("sweep", 40, 40)
        wait_for(r"working, 0:0\d elapsed")


def test_progress_that_is_not_wanted_is_not_shown(terminal, monkeypatch):
    monkeypatch.setattr(terminal_module, "LINE_SECONDS", 0.05)
    shown = terminal()
    with show_progress("none") as progress:
        progress("sweep", 10, 40)
        time.sleep(0.2)
    assert shown.getvalue() == ""


def test_short_work_without_a_terminal_says_nothing_but_warnings(capsys):
    with show_progress() as progress:
        progress("sweep", 10, 40)
        say("going on after 10 of 40 samples")
        warn("mind this")
    assert capsys.readouterr() == ("", "Warning: mind this\n")


def test_sentences_for_the_person_waiting(terminal):
    shown = terminal()
    say("going on after 10 of 40 samples")
    assert shown.getvalue() == "going on after 10 of 40 samples\n"


def test_on_a_terminal_sentences_are_wrapped_at_words(terminal, monkeypatch):
    shown = terminal()
    monkeypatch.setenv("COLUMNS", "80")
    path = "/data/" + "deep/" * 20 + "model.onnx"
    warn("the accuracy with nothing removed is no better than chance, " * 3 + path)
    lines = shown.getvalue().splitlines()
    assert path in lines
    assert all(len(click.unstyle(line)) <= 80 for line in lines if line != path)
    assert len(lines) > 3


def test_facts_continue_below_themselves_on_a_terminal(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", "80")
    print_facts([("accuracy", "0.5"), ("gap", "words " * 30)])
    first, second, *rest = shown.getvalue().splitlines()
    assert click.unstyle(first) == "accuracy  0.5"
    assert click.unstyle(second).startswith("gap       words")
    assert rest
    assert all(line.startswith(" " * 10 + "words") and len(line) <= 80 for line in rest)


def test_json_is_utf8_and_whole(capsysbinary):
    print_json({"name": "ζ"})
    assert capsysbinary.readouterr().out == '{\n  "name": "ζ"\n}\n'.encode()


def test_tables_line_up_and_put_numbers_to_the_right(capsys):
    print_table(("name", "r"), [("one", "0.5"), ("eleven", "-10.25"), ("κ", "–")])
    assert capsys.readouterr().out.splitlines() == [
        "name         r",
        "one        0.5",
        "eleven  -10.25",
        "κ            –",
    ]


def test_a_pipe_that_nobody_reads_is_no_failed_limit(spawn):
    process = spawn("zoo", "list")
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""


def test_what_strangers_made_endless_is_shown_by_its_ends(capsys):
    complain("The name " + "x" * 100_000 + " is not one. Choose another.")
    shown = capsys.readouterr().err
    assert len(shown) < 3_000
    assert shown.startswith("Error: The name xxx")
    assert shown.endswith("xxx is not one. Choose another.\n")
    assert "[…]" in shown
