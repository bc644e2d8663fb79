"""The READMEs keep their word: what they paste is what comes, what they name exists."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import anyio
import pytest

import bulkcancel as bulkcancel_package
from bulkcancel.cli.app import run_cli
from bulkcancel.sandbox import Sandbox, SandboxOptions
from tests.bench import __main__ as bench
from tests.support.processes import bulkcancel, environment
from tests.support.runs import make_ids

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted((ROOT / "bulkcancel" / "docs").glob("*.md"))
DOCS = "".join(page.read_text("utf-8") for page in PAGES)
INSIDE = (ROOT / "bulkcancel" / "README.md").read_text("utf-8")
BENCH = (ROOT / "tests" / "bench" / "README.md").read_text("utf-8")
EVERY = README + DOCS + INSIDE + BENCH
SAMPLES = sorted((ROOT / "sample_inputs").iterdir())
WIDTH = "96"
"""Of the terminal whose output the README shows."""

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# How long something took differs each time; how long it is expected to take does not.
_TOOK = re.compile(r"(?<!about )(?<![0-9.])[0-9]+(\.[0-9]+)? (ms|s|min|h)\b")
# Flags of programs in Go have dots inside.
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+(?![a-z-]|\.[a-z])")


class Pasted(NamedTuple):
    """A command of the README and the output shown beneath it."""

    command: str
    output: str


def _blocks(language: str) -> list[str]:
    return [block[2] for block in _BLOCK.finditer(EVERY) if block[1] == language]


def _pasted() -> list[Pasted]:
    """Return the commands of console blocks that need neither Domo nor an earlier command."""
    found = []
    for block in _blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            words = command.split()
            if words[0] == "bulkcancel" and {"--sandbox", "--help"} & set(words):
                found.append(Pasted(command, output))
    return found


def _comparable(text: str) -> list[str]:
    return [_TOOK.sub(r"# \2", line.rstrip()) for line in text.rstrip().splitlines()]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each pasted command prints, run in a directory of its own beside the sample inputs."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = environment(COLUMNS=WIDTH, BULKCANCEL_LOG_FORMAT="console", PATH=programs)
    running = {}
    for pasted in _pasted():  # all at once: each takes seconds, and mostly waits
        directory = tmp_path_factory.mktemp("readme")
        shutil.copytree(ROOT / "sample_inputs", directory / "sample_inputs")
        running[pasted.command] = subprocess.Popen(
            ["bash", "-c", pasted.command], cwd=directory, env=env, encoding="utf-8",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    return {command: process.communicate(timeout=60)[0] for command, process in running.items()}


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize("pasted", _pasted(), ids=lambda pasted: pasted.command)
def test_a_pasted_output_is_what_comes(printed: dict[str, str], pasted: Pasted) -> None:
    """The command prints what is shown beneath it, but for how long it took."""
    assert _comparable(printed[pasted.command]) == _comparable(pasted.output)


def test_the_main_job_its_trouble_and_its_options_are_pasted() -> None:
    """What the test above compares is there: it cannot pass because nothing is pasted."""
    commands = [each.command for each in _pasted()]
    assert any("stuck-runs.csv" in each for each in commands)
    assert any("trouble.csv" in each for each in commands)
    assert "bulkcancel run --help" in commands
    assert all(each.output.strip() for each in _pasted())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_every_sample_can_be_rehearsed(tmp_path: Path, sample: Path) -> None:
    """Each file is read as it is, without an option that explains it, and the README names it."""
    done = bulkcancel("run", sample, "--sandbox", "--dry-run", cwd=tmp_path)
    assert done.code == 0, done.stderr
    (planned,) = done.events("run.planned")
    assert int(str(planned["to_cancel"])) > 20
    assert bool(planned["invalid"]) == (sample.name == "trouble.csv")
    assert sample.name in README
    assert list(tmp_path.iterdir()) == []


def _compiled(block: str) -> CodeType:
    """Compile as a notebook does, where `await` may stand outside of functions."""
    code: CodeType = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


@pytest.mark.parametrize("block", _blocks("python"))
def test_every_python_example_is_python(block: str) -> None:
    """It can be pasted into a notebook, and what it imports from here is there."""
    code = _compiled(block)
    assert "bulkcancel" in code.co_names
    imported = [node for node in ast.parse(block).body if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in imported for alias in node.names]
    assert names
    assert set(names) <= set(bulkcancel_package.__all__)


def test_the_python_example_works(capfd: pytest.CaptureFixture[str]) -> None:
    """Run as in a notebook, with a sandbox in place of the instance, it prints a line for each."""
    (block,) = [each for each in _blocks("python") if "cancel_many(ids" in each]
    assert 'instance="acme"' in block
    ids = make_ids(3)

    async def notebook() -> None:
        async with Sandbox(SandboxOptions(port=0, latency_s=0, jitter_s=0)) as sandbox:
            names = {"ids": ids, "token": "any-token", "base_url": sandbox.base_url}
            await eval(_compiled(block.replace('instance="acme"', "base_url=base_url")), names)

    anyio.run(notebook)
    out, err = capfd.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert sorted(words[0] for words in lines) == sorted(ids)
    assert {words[1] for words in lines} == {"accepted"}
    assert err == ""


def test_every_option_it_names_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """An option in the text or in an example is one that some command's help names."""
    run_cli(["--help"])
    helps = capsys.readouterr().out
    commands = re.findall(r"^│ ([a-z]+) ", helps, re.MULTILINE)
    assert {"run", "sandbox"} <= set(commands)
    for command in commands:
        run_cli([command, "--help"])
        helps += capsys.readouterr().out
    # Where it is measured, other programs' options stand as well; --now is systemctl's.
    named = set(_OPTION.findall(README + DOCS + INSIDE)) - {"--now"}
    assert sorted(named - set(_OPTION.findall(helps))) == []


def test_users_read_three_hundred_lines_at_most() -> None:
    """What is for others stands in files of their own, which it names."""
    assert len(README.splitlines()) <= 300
    others = [ROOT / "bulkcancel" / "README.md", ROOT / "tests" / "bench" / "README.md"]
    for page in (*PAGES, *others):
        assert f"]({page.relative_to(ROOT).as_posix()})" in README


def test_every_bench_it_names_exists() -> None:
    """A measurement that a README tells to run is one that the bench knows."""
    named = set(re.findall(r"python -m tests\.bench ([a-z]+)", README + INSIDE + BENCH))
    assert named
    assert named <= set(re.findall(r"python -m tests\.bench ([a-z]+)", str(bench.__doc__)))
