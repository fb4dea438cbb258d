"""action.yml and the jobs of docs/CI.md, run as GitHub and GitLab would run them."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "model_zoo" / "bundled" / "digits"
PAGE = (ROOT / "docs" / "CI.md").read_text(encoding="utf-8")
GITHUB, GITLAB = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")

JOBS = {  # network, labels: exit code, verdict
    "good": ("digits-c0", "labels_c0", 0, "pass"),
    "bad": ("digits-c40", "labels_c40", 1, "fail"),
    "puzzling": ("digits-c0", "unlearned 9", 4, "not judgeable"),
}


class Runner:
    """A machine that runs the steps of a job in a folder, with onnx-gap as if installed."""

    def __init__(self, folder: Path):
        self.folder = folder / "workspace"
        self.folder.mkdir()
        programs = folder / "programs"
        programs.mkdir()
        for name, command in (
            ("onnx-gap", f'exec "{sys.executable}" -m analyzer "$@"'),
            ("pip", 'echo "pip $*" >>pip.log'),
        ):
            (programs / name).write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
            (programs / name).chmod(0o755)
        for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH"):
            (folder / name).touch()
        self._commands = folder
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RUNNER_TEMP": str(folder),
            "GITHUB_ACTION_PATH": str(ROOT),
            **{n: str(folder / n) for n in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")},
        }

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    def written(self, name: str) -> str:
        return (self._commands / name).read_text(encoding="utf-8")

    @property
    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.written("GITHUB_OUTPUT").splitlines())

    def act(self, given: dict, *, installing: bool = False) -> tuple[list[str], str, int]:
        """The action with these inputs: folders it uploads, what it says, how it ends."""
        inputs = {name: one.get("default", "") for name, one in ACTION["inputs"].items()}
        assert given.keys() <= inputs.keys()
        inputs |= {name: str(value) for name, value in given.items()}
        uploaded, said = [], ""
        for step in ACTION["runs"]["steps"]:
            if "uses" in step:
                assert step["uses"].startswith("actions/upload-artifact@")
                uploaded.append(self.evaluate(step["with"]["path"], inputs))
            elif installing or not step["run"].endswith(" install"):
                env = {name: self.evaluate(one, inputs) for name, one in step["env"].items()}
                found = self.run(step["run"], **env)
                said += found.stdout + found.stderr
                if found.returncode:
                    return uploaded, said, found.returncode
        return uploaded, said, 0

    def evaluate(self, text: str, inputs: dict[str, str]) -> str:
        """``text`` with GitHub's expressions, of which action and page use two kinds."""
        text = re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda m: inputs[m[1]], text)
        return re.sub(r"\$\{\{ steps\.audit\.outputs\.([a-z-]+) \}\}", self._output, text)

    def _output(self, found: re.Match[str]) -> str:
        return self.outputs[found[1]]


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path)


def unlearned_9(labels):
    """Labels of which 9 is a class that the network does not know: twenty images of an 8.

    Its own are left out, as -1.
    """
    changed = labels.astype(np.int64)
    changed[np.flatnonzero(labels == 8)[:20]] = 9
    changed[labels == 9] = -1
    return changed


@pytest.fixture(params=JOBS)
def job(request, runner):
    """A repository as the page describes it, and how its job must end."""
    network, labels, code, verdict = JOBS[request.param]
    shutil.copy(BUNDLED / f"{network}.onnx", runner.folder / "model.onnx")
    (runner.folder / "preprocessor_config.json").write_text(
        json.dumps({"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": False})
    )
    with np.load(BUNDLED / "train.npz") as stored:
        images = stored["images"]
        classes = unlearned_9(stored["labels_c0"]) if "9" in labels else stored[labels]
    for number, (image, label) in enumerate(zip(images, classes, strict=True)):
        if label < 0:
            continue
        folder = runner.folder / "train" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(folder / f"{number}.png")
    return code, verdict


def test_the_job_for_github_ends_as_it_should(runner, job):
    code, verdict = job
    steps = GITHUB["jobs"]["audit"]["steps"]
    assert [step.get("uses", "run").split("@")[0] for step in steps] == [
        "actions/checkout", "OWNER/onnx-gap", "run",
    ]  # fmt: skip
    uploaded, said, ended = runner.act(steps[1]["with"])
    assert ended == code, said
    assert uploaded == ["audit"]
    assert runner.outputs == {"exit-code": str(code), "verdict": verdict, "folder": "audit"}
    assert "## " in runner.written("GITHUB_STEP_SUMMARY")
    assert verdict in runner.written("GITHUB_STEP_SUMMARY").splitlines()[0].lower()
    assert (runner.folder / "audit" / "junit.xml").is_file()
    assert (runner.folder / "audit" / "report.html").is_file()
    env = {name: runner.evaluate(one, {}) for name, one in steps[2]["env"].items()}
    assert runner.run(steps[2]["run"], **env).stdout == f"verdict {verdict}, exit code {code}\n"
    again = runner.act(steps[1]["with"])  # resumes what is there, junit.xml or not
    assert again[2] == code, again[1]
    goes_on = runner.act({**steps[1]["with"], "blocks": "false"})
    assert goes_on[2] == 0, goes_on[1]


def test_the_job_for_gitlab_and_the_script_end_as_they_should(runner, job):
    code, _ = job
    told = GITLAB["generalization"]
    done = runner.run("\n".join(told["script"]), **told["variables"])
    assert done.returncode == code, done.stderr
    installed = (runner.folder / "pip.log").read_text(encoding="utf-8")
    assert installed == f"pip install onnx-gap @ {told['variables']['ONNX_GAP']}\n"
    kept = {name for name in told["artifacts"]["paths"] if (runner.folder / name).exists()}
    assert kept == {"audit", "audit.md", "junit.xml"}
    assert told["artifacts"]["reports"]["junit"] in kept
    assert told["allow_failure"]["exit_codes"] == 4
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    _, _, script = script.partition('COMMIT"\n')  # without what installs
    again = runner.run(script.replace(".onnx-gap/bin/", ""))
    assert again.returncode == code, again.stderr
    assert {0: "passes", 1: "blocked", 4: "cannot tell"}[code] in again.stdout
    if code == 0:
        (further,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
        if not find_spec("mlflow"):
            further = further.replace("onnx-gap report audit --mlflow auto", "")
        store = (runner.folder / "runs").as_uri()
        done = runner.run(further, MLFLOW_TRACKING_URI=store, MLFLOW_ALLOW_FILE_STORE="true")
        assert done.returncode == 0, done.stderr
        assert (runner.folder / "card.md").is_file()


def test_every_input_of_the_action_is_described(runner):
    for name in ACTION["inputs"]:
        assert f"`{name}`" in PAGE
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.audit.outputs.{name} }}}}"


def test_bad_input_is_said_and_uploads_nothing_that_is_there(runner):
    _, said, code = runner.act({"model": "no such.onnx", "data": "train", "max-gap": "0.3"})
    assert code == 2
    assert "Error: " in said
    assert runner.outputs == {"exit-code": "2", "verdict": "", "folder": "audit"}


def test_options_are_words_and_no_script(runner):
    hostile = "--auditor '$(touch hacked) `touch hacked` *'\n--suspects 3"
    _, said, code = runner.act(
        {
            "model": "zoo:digits-c0",
            "out": "an out",
            "options": hostile,
            "max-gap": "$(touch hacked)",
        }
    )
    assert code == 2, said
    assert "is not a valid number" in said
    _, said, code = runner.act({"model": "zoo:digits-c0", "out": "an out", "options": hostile})
    assert code == 0, said
    record = json.loads((runner.folder / "an out" / "audit.json").read_text(encoding="utf-8"))
    assert record["made"]["auditor"] == "$(touch hacked) `touch hacked` *"
    assert record["suspects"] == 3
    assert not (runner.folder / "hacked").exists()


def test_installing_takes_the_extras_and_a_place_of_its_own(runner, tmp_path):
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\nmkdir -p "$3/bin"\nprintf \'#!/bin/sh\\necho "$@"\\n\' >"$3/bin/python"\n'
        'chmod +x "$3/bin/python"\n'
    )
    python.chmod(0o755)
    runner.environment["PYTHON"] = str(python)
    step = ACTION["runs"]["steps"][0]
    found = runner.run(step["run"], INPUT_EXTRAS="parquet,cuda")
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"-m pip install --quiet {ROOT}[parquet,cuda]\n"
    assert Path(runner.written("GITHUB_PATH").strip()) == tmp_path / "onnx-gap-environment" / "bin"


def test_what_the_image_copies_is_there_and_not_ignored():
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    ]
    assert {"setup.cfg", "analyzer", "model_zoo"} <= set(copied)
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed


def lint(*command: str, given: str = "") -> None:
    """Run a linter of the environment, or of the machine."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which(command[0], path=places)
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    found = subprocess.run(
        [program, *command[1:]], cwd=ROOT, capture_output=True, text=True, input=given
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_image_is_linted():
    lint("hadolint", "Containerfile")


def test_the_scripts_are_linted():
    lint("shellcheck", "tools/action.sh", "tools/test", "tools/lowest_versions", ".ci/run")


def test_the_script_of_the_page_is_linted():
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    lint("shellcheck", "--shell=bash", "-", given=script)
