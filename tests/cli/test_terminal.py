"""What people see when standard error is a terminal, and scripts when it is not."""

import io
import re
import sys

import click
import pytest

from analyzer.cli.terminal import print_json, print_table, progress_bars, say, warn


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


def test_bars_show_stage_amount_and_time_left(terminal):
    shown = terminal()
    with progress_bars() as progress:
        progress("sweep", 10, 40)
        progress("sweep", 40, 40)
    assert re.search(r"sweep .* 40/40 .* gone, .* left", click.unstyle(shown.getvalue()))


def test_without_a_terminal_nothing_but_warnings_is_said(capsys):
    with progress_bars() as progress:
        progress("sweep", 10, 40)
        say("going on after 10 of 40 samples")
        warn("mind this")
    assert capsys.readouterr() == ("", "Warning: mind this\n")


def test_sentences_for_the_person_waiting(terminal):
    shown = terminal()
    say("going on after 10 of 40 samples")
    assert shown.getvalue() == "going on after 10 of 40 samples\n"


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
