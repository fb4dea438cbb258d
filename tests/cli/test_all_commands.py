"""What all commands have in common: help, near matches, exit codes, what a start pays for."""

import errno
import os
import re
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import click
import pytest
from cli_commands import commands
from click.shell_completion import ShellComplete

from analyzer.cli.commands import main
from analyzer.cli.commands import onnx_gap as command_line
from analyzer.cli.memory_limit import memory_refusal
from analyzer.errors import AnalyzerError

ALL = commands()


@pytest.fixture
def failing(monkeypatch):
    """Makes `onnx-gap report FOLDER` fail with the given error."""

    def fail_with(error):
        @click.command("report")
        @click.argument("folder")
        def command(folder):
            raise error

        monkeypatch.setattr("analyzer.cli.report_command.command", command)

    return fail_with


def test_the_main_help_lists_every_command_in_order_of_use(onnx_gap):
    shown = onnx_gap("--help")
    assert shown.code == 0
    listed = shown.out[shown.out.index("Commands:") :].splitlines()[1:]
    assert [line.split()[0] for line in listed] == [name for name in ALL if " " not in name]
    assert not any(line.endswith("...") for line in listed)


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_with_an_example(onnx_gap, name):
    shown = onnx_gap(*name.split(), "--help")
    assert (shown.code, shown.err) == (0, "")
    assert f"\n    onnx-gap {name} " in shown.out or f"\n    onnx-gap {name}\n" in shown.out
    for option in (item for item in ALL[name].params if isinstance(item, click.Option)):
        assert option.help or option.name == "help", option.name
    assert all(len(line) <= 100 for line in shown.out.splitlines())
    assert "Exit codes: 0 done" in shown.out or isinstance(ALL[name], click.Group)


@pytest.mark.parametrize(
    ("words", "begun", "found"),
    [
        ([], "pop", ["population"]),
        (["zoo"], "", ["list", "train"]),
        (["audit"], "zoo:digits-c4", ["zoo:digits-c40"]),
        (["audit", "m.onnx", "--data"], "zoo:digits-c4", ["zoo:digits-c40"]),
        (["audit", "m.onnx"], "--max-g", ["--max-gap"]),
        (["audit", "m.onnx", "--gate"], "e", ["estimate"]),
    ],
)
def test_what_a_shell_completes(words, begun, found):
    shell = ShellComplete(command_line, {}, "onnx-gap", "_ONNX_GAP_COMPLETE")
    assert [one.value for one in shell.get_completions(words, begun)] == found
    for files in (["inspect"], ["audit", "m.onnx", "--preprocess"], ["report"]):
        assert [one.type for one in shell.get_completions(files, "mo")] == ["file"]


def test_a_script_for_a_shell_ends_with_0(onnx_gap, monkeypatch):
    monkeypatch.setenv("_ONNX_GAP_COMPLETE", "zsh_source")
    shown = onnx_gap()
    assert (shown.code, shown.err) == (0, "")
    assert "#compdef onnx-gap" in shown.out


@pytest.mark.parametrize("wanted", ["tcsh_source", "bash", "bash_sauce", "_"])
def test_a_shell_that_is_unknown_is_told_those_that_complete(onnx_gap, monkeypatch, wanted):
    monkeypatch.setenv("_ONNX_GAP_COMPLETE", wanted)
    shown = onnx_gap()
    assert (shown.code, shown.out) == (2, "")
    assert f"_ONNX_GAP_COMPLETE is '{wanted}', which no shell" in shown.err
    assert "bash_source, zsh_source or fish_source" in shown.err


@pytest.mark.parametrize(
    ("shell", "words", "word"),
    [("bash", None, "1"), ("zsh", "onnx-gap m", "x"), ("zsh", "", None), ("fish", "onnx-gap", " ")],
)
def test_words_that_no_shell_sets_are_named(onnx_gap, monkeypatch, shell, words, word):
    monkeypatch.setenv("_ONNX_GAP_COMPLETE", f"{shell}_complete")
    for name, value in (("COMP_WORDS", words), ("COMP_CWORD", word)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    shown = onnx_gap()
    assert (shown.code, shown.out) == (2, "")
    assert "shells that complete set COMP_WORDS and COMP_CWORD" in shown.err
    assert "Traceback" not in shown.err


def test_words_that_are_not_utf8_are_completed(onnx_gap, monkeypatch):
    monkeypatch.setenv("_ONNX_GAP_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "onnx-gap inspect \udcff")
    monkeypatch.setenv("COMP_CWORD", "2")
    shown = onnx_gap()
    assert (shown.code, shown.out.strip(), shown.err) == (0, "file,?", "")


def test_without_a_command_the_help_is_shown_as_bad_usage(onnx_gap):
    shown = onnx_gap()
    assert shown.code == 2
    assert "\nCommands:\n" in shown.err


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["inspct", "m.onnx"], "inspect"),
        (["audit", "m.onnx", "--gap-modle", "g"], "--gap-model"),
        (["zoo", "lst"], "list"),
    ],
)
def test_a_slip_is_answered_with_what_is_near(onnx_gap, arguments, near):
    shown = onnx_gap(*arguments)
    assert shown.code == 2
    assert near in shown.err.splitlines()[-1]


def test_version(onnx_gap, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: {"onnx-gap": "1.2.3"}[name])
    assert onnx_gap("--version").out == "onnx-gap 1.2.3\n"

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    shown = onnx_gap("--version")
    assert shown.code == 0
    assert "not installed" in shown.out


def test_bad_input_is_one_sentence_and_exit_2(onnx_gap, failing):
    failing(AnalyzerError("x.onnx is no network; give another"))
    shown = onnx_gap("report", "folder")
    assert shown.code == 2
    assert (shown.out, shown.err) == ("", "Error: x.onnx is no network; give another\n")


def test_a_defect_shows_where_and_exits_with_3(onnx_gap, failing):
    failing(ZeroDivisionError("by zero"))
    shown = onnx_gap("report", "folder")
    assert shown.code == 3
    assert "Traceback" in shown.err
    assert "onnx-gap doctor" in shown.err.splitlines()[-1]


def test_ctrl_c_exits_with_130(onnx_gap, failing):
    failing(KeyboardInterrupt())
    shown = onnx_gap("report", "folder")
    assert shown.code == 130
    assert shown.err.strip() == "Interrupted."


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("place", ["click", "analyzer.errors", "analyzer.cli.verify_command"])
def test_ctrl_c_while_modules_are_imported_shows_none_of_them(spawn, place):
    code = (
        "import os, signal, sys\n"
        "from analyzer.cli import main\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {place!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "main(['verify', 'nowhere'])"
    )
    process = spawn(python=("-c", code))
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said.replace("Interrupted.\n", "").strip()) == (130, "")


def test_main_ends_the_process_with_the_code(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        main(["verify", "nowhere"])
    signal.signal(signal.SIGINT, handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    assert ended.value.code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_while_a_native_module_is_imported_is_heeded_after_it(spawn):
    """Which runs Python, and makes an ImportError of what that raises, as pybind11 does."""
    code = (
        "import os, signal, sys, time\n"
        "from importlib.machinery import ExtensionFileLoader, ModuleSpec\n"
        "from analyzer.cli.interrupts import heed_interrupts\n"
        "class Native(ExtensionFileLoader):\n"
        "    def create_module(self, spec): return None\n"
        "    def exec_module(self, module):\n"
        "        try: os.kill(os.getpid(), signal.SIGINT)\n"
        "        except KeyboardInterrupt: raise ImportError('initialization failed')\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        return ModuleSpec(name, Native(name, '')) if name == 'native' else None\n"
        "sys.meta_path.insert(0, Finder())\n"
        "heed_interrupts()\n"
        "import native\n"
        "try: time.sleep(5)\n"
        "except KeyboardInterrupt: sys.exit(7)"
    )
    process = spawn(python=("-c", code))
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (7, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_in_code_of_a_text_leaves_the_exit_code(spawn):
    """Python ends by the signal then, although the interrupt was handled."""
    code = (
        "import analyzer.cli as cli, analyzer.cli.commands as commands\n"
        "def interrupted(arguments): exec('raise KeyboardInterrupt')\n"
        "commands.exit_code_of = interrupted\n"
        "cli.main([])"
    )
    process = spawn(python=("-c", code))
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 130


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_after_the_end_changes_nothing(spawn):
    code = (
        "import atexit, os, signal\n"
        "from analyzer.cli import main\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "main(['verify', 'nowhere'])"
    )
    process = spawn(python=("-c", code))
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said.count("\n")) == (2, 1)


def test_help_pays_for_nothing_heavy():
    # The choices of `fit` are the library's own sets of features, which take numpy.
    arguments = [["--help"], *([*name.split(), "--help"] for name in ALL if name != "fit")]
    heavy = "numpy onnx onnx_ir onnxruntime rich PIL sklearn matplotlib jinja2 model_zoo torch"
    code = (
        "import sys, analyzer.cli.commands as commands\n"
        f"codes = [commands.exit_code_of(arguments) for arguments in {arguments!r}]\n"
        f"print(sum(codes), *set({heavy.split()!r}) & set(sys.modules), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stderr == "0\n"


def test_the_module_is_the_command(spawn):
    process = spawn("verify", "nowhere")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert err == (
        "Error: nowhere/audit.json does not exist; name a folder that an audit has written.\n"
    )


def test_a_stream_without_greek_is_no_defect(spawn, network, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    process = spawn("inspect", network)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "\\u25b6" in out


@pytest.mark.skipif(os.name == "nt", reason="no such limits there")
@pytest.mark.parametrize(("kind", "flag"), [("RLIMIT_AS", "-v"), ("RLIMIT_DATA", "-d")])
def test_a_limit_under_which_libraries_would_end_the_process_is_refused(kind, flag, monkeypatch):
    import resource

    limits = {getattr(resource, kind): 300 << 20}
    monkeypatch.setattr(resource, "getrlimit", lambda one: (limits.get(one, -1), -1))
    assert f"307,200 KB of memory (ulimit {flag}), and with" in (memory_refusal() or "")
    limits[getattr(resource, kind)] = 1 << 40
    assert memory_refusal() is None


@pytest.mark.skipif(sys.platform != "linux", reason="others do not hold to the limit")
def test_too_small_a_limit_ends_a_command_before_numpy_is_imported():
    command = f"ulimit -v 300000; exec {sys.executable} -m analyzer doctor"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "may take 300,000 KB of memory (ulimit -v)" in " ".join(done.stderr.split())


def test_a_process_without_memory_is_no_defect(onnx_gap, failing):
    failing(MemoryError("Unable to allocate 74.5 GiB"))
    shown = onnx_gap("report", "folder")
    assert shown.code == 2
    assert "not enough memory (Unable to allocate 74.5 GiB)" in shown.err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "no more (Too many open files). Raise its"),
        (BlockingIOError(errno.EAGAIN, "Try again"), "no more (Try again). Raise its limits"),
        (RuntimeError("can't start new thread"), "no more (can't start new thread). Raise its"),
    ],
)
def test_an_exhausted_process_is_no_defect(onnx_gap, failing, error, said):
    failing(error)
    shown = onnx_gap("report", "folder")
    assert shown.code == 2
    assert said in shown.err


def test_a_folder_in_the_place_of_a_file_is_no_defect(onnx_gap, failing):
    failing(IsADirectoryError(errno.EISDIR, "Is a directory", "out/population.html"))
    shown = onnx_gap("report", "folder")
    assert shown.code == 2
    assert "out/population.html cannot be used: Is a directory." in shown.err


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed there")
def test_a_current_folder_that_is_gone_is_no_defect(onnx_gap, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    shown = onnx_gap("audit", "zoo:digits-c0", "--out", tmp_path / "audit")
    assert shown.code == 2
    assert shown.err == (
        "Error: The current folder does not exist any more. Change to one that does.\n"
    )


def test_no_folder_for_temporary_files_is_no_defect(onnx_gap, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr("tempfile.tempdir", None)
        without.setattr("tempfile._candidate_tempdir_list", lambda: ["nowhere"])
        shown = onnx_gap("doctor")
    assert shown.code == 2
    assert "No usable temporary directory found in ['nowhere']. Let TMPDIR name" in shown.err


def test_closed_streams_are_no_defect(tmp_path):
    command = f"exec {sys.executable} -m analyzer verify nowhere >&- 2>&- <&-"
    assert subprocess.run(command, shell=True, cwd=tmp_path).returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="no such shell there")
@pytest.mark.parametrize("ending", ["--version", "zoo list", "inspect zoo:digits-c0 --json"])
def test_a_closed_standard_output_is_named(ending, tmp_path):
    command = f"exec {sys.executable} -m analyzer {ending} >&-"
    found = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr.startswith("Error: Standard output cannot be written: Bad file descriptor.")


@pytest.mark.parametrize("arguments", [("zoo", "a\nb"), ("verify", "x", "a\nb"), ("--a\nb",)])
def test_line_breaks_of_arguments_are_escaped_in_errors_of_usage(onnx_gap, arguments):
    shown = onnx_gap(*arguments)
    assert shown.code == 2
    assert re.search(r"a\\(n|x0a)b", shown.err)
    assert "a\nb" not in shown.err


@pytest.mark.parametrize("name", ALL)
def test_no_help_speaks_of_a_bound_that_is_none(name, onnx_gap):
    assert "None]" not in onnx_gap(*name.split(), "--help").out


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no full device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_named(tmp_path, monkeypatch, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)  # an error of writing, or of flushing
    for ending in ("--version", "zoo list", "inspect zoo:digits-c0 --json"):
        command = f"exec {sys.executable} -m analyzer {ending} > /dev/full"
        found = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert found.returncode == 2
        assert found.stderr.startswith("Error: Standard output cannot be written: No space left")
        assert found.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no full device")
def test_a_full_standard_error_does_not_change_the_exit_code(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    command = f"exec {sys.executable} -m analyzer verify nowhere 2> /dev/full"
    assert subprocess.run(command, shell=True, cwd=tmp_path).returncode == 2
