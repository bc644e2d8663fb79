"""The documented schedules are what cron, systemd and Kubernetes take, and do what it says."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bulkcancel.cli.settings import RunSettings
from bulkcancel.quantities import parse_duration
from tests.support.processes import bulkcancel, environment, write_ids
from tests.support.runs import make_ids

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
OPERATIONS = (ROOT / "bulkcancel" / "docs" / "operations.md").read_text("utf-8")
TOLD = OPERATIONS.partition("\n## Schedules\n")[2]
CLUSTER = (ROOT / "bulkcancel" / "docs" / "kubernetes.md").read_text("utf-8")
SECTION = f"{TOLD}\n{CLUSTER}"
KUBERNETES = ("1.29", "1.37")
"""The first version that is named, and the last whose schemas are there."""

GRACE_S = float(RunSettings().grace)

posix = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


TEXTFILES = "/var/lib/node_exporter/textfile"
"""The directory of Prometheus's node exporter."""
PROGRAM = "/opt/bulkcancel/bin/bulkcancel"
"""Where the schedules call it."""


def _replaced(line: str, *replacements: tuple[str, str]) -> str:
    for written, here in replacements:
        assert written in line
        line = line.replace(written, here)
    return line


def _shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line as a scheduler does: by /bin/sh, with an environment of next to nothing."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": programs, "HOME": "/nonexistent", "SHELL": "/bin/sh", "LOGNAME": "nobody"}
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def _today() -> str:
    return date.today().isoformat()  # noqa: DTZ011 - the one that `date` will say


# cron


def _crontab_line() -> str:
    """The command of the crontab line, as cron hands it to the shell (crontab(5)).

    The sixth field goes up to the first bare `%`, which is a line end; a backslash before one is
    taken away.
    """
    (block,) = _blocks("crontab")
    (line,) = block.splitlines()
    fields = line.split(maxsplit=5)
    assert all(re.fullmatch(r"[0-9*]+", each) for each in fields[:5])
    command = re.split(r"(?<!\\)%", fields[5])[0]
    return command.replace(r"\%", "%")


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock of util-linux")
@pytest.mark.parametrize("held", [False, True])
def test_the_crontab_line_works_and_does_not_overlap(tmp_path: Path, held: bool) -> None:
    """As cron runs it: the day's results and a summary; not while the last one is under way."""
    write_ids(tmp_path / "stuck.csv", make_ids(5))
    line = _replaced(
        _crontab_line(),
        ("/var/lib/bulkcancel/", f"{tmp_path}/"),
        (f"{TEXTFILES}/", f"{tmp_path}/"),
        (f" {PROGRAM} ", " bulkcancel "),
        ("--instance acme --token-file /etc/bulkcancel.token", "--sandbox"),
    )
    run = f"exec 9>{tmp_path}/lock; flock -n 9; {line}" if held else line
    done = _shell(run, cwd=Path("/"))
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == (75 if held else 0)
    made = {path.name for path in tmp_path.iterdir()}
    made_by_it = set() if held else {f"{_today()}.csv", "summary.json", "stuck-runs.prom"}
    assert made == {"stuck.csv", "lock", "log"} | made_by_it


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock of util-linux")
def test_a_crontab_line_without_its_program_ends_as_the_table_says(tmp_path: Path) -> None:
    """Exit 69 of flock, and a plain line in the log alone."""
    line = _replaced(
        _crontab_line(), ("/var/lib/bulkcancel/", f"{tmp_path}/"), (PROGRAM, f"{tmp_path}/none")
    )
    done = _shell(line, cwd=Path("/"))
    assert (done.returncode, done.stdout, done.stderr) == (69, "", "")
    assert "failed to execute" in (tmp_path / "log").read_text()
    assert "| 5, 69 | " in SECTION


def test_the_schedules_call_the_program_that_their_environment_has() -> None:
    """cron's PATH knows no virtual environment: the path is whole, and made by the lines above."""
    made, installed, *_ = _blocks("sh")[0].splitlines()
    assert made.split()[:3] == ["python3", "-m", "venv"]
    directory = made.split()[3]
    assert f"{directory}/bin/bulkcancel" == PROGRAM
    assert installed == f"{directory}/bin/pip install ."
    assert f" {PROGRAM} run " in _crontab_line()
    assert f" {PROGRAM} run " in _unit("bulkcancel.service")["Service"]["ExecStart"]


# systemd


def _units() -> dict[str, str]:
    """The texts of the unit files by their names; a comment with its path begins each block."""
    found = {}
    for block in _blocks("ini"):
        path, _, text = block.partition("\n")
        found[path.removeprefix("# /etc/systemd/system/")] = text
    return found


def _unit(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None, delimiters="=")
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    # A backslash at the end of a line joins it with the next (systemd.syntax(7)).
    unit.read_string(re.sub(r"\\\n\s*", " ", _units()[name]))
    return unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze of systemd")
@pytest.mark.parametrize("misspelt", [False, True])
def test_systemd_finds_no_fault_in_the_units(tmp_path: Path, misspelt: bool) -> None:
    """Every key and value is one that systemd knows; the same check does find a wrong one."""
    assert set(_units()) == {"bulkcancel.service", "bulkcancel.timer"}
    for name, text in _units().items():
        wrong = text.replace("Persistent=", "Persistant=") if misspelt else text
        (tmp_path / name).write_text(wrong)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / name for name in _units())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # It reads what they depend on as well: the machine's own units, whose faults are not ours.
    faults = [line for line in (done.stdout + done.stderr).splitlines() if "bulkcancel." in line]
    assert bool(faults) == misspelt, faults
    assert all("Persistant" in each for each in faults)


@posix
def test_the_command_of_the_service_works(tmp_path: Path) -> None:
    """As systemd runs it, in its state directory: the day's results and a summary."""
    write_ids(tmp_path / "stuck.csv", make_ids(5))
    service = _unit("bulkcancel.service")["Service"]
    assert service["WorkingDirectory"] == f"%S/{service['StateDirectory']}"
    assert service["LoadCredential"].startswith("token:")
    line = _replaced(
        service["ExecStart"],
        ("%d", "/run/credentials/bulkcancel.service"),
        ("%%", "%"),
        ("$$", "$"),
    )
    shell, option, script = shlex.split(line)
    assert (shell, option) == ("/bin/sh", "-c")
    # exec: the signals of a stop reach bulkcancel itself.
    assert script.startswith("exec /opt/bulkcancel/bin/bulkcancel run ")
    script = _replaced(
        script,
        ("/opt/bulkcancel/bin/", ""),
        (f"{TEXTFILES}/", f"{tmp_path}/"),
        ("--instance acme", "--sandbox"),
        ("--token-file /run/credentials/bulkcancel.service/token", ""),
    )
    done = _shell(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"stuck.csv", f"{_today()}.csv", "summary.json", "stuck-runs.prom"}


def test_the_metrics_have_a_directory_that_the_jobs_may_write() -> None:
    """The lines for root make it, for a group that cron's user and the unit are in."""
    service = _unit("bulkcancel.service")["Service"]
    assert service["ReadWritePaths"] == TEXTFILES
    group = service["SupplementaryGroups"]
    for_both, for_cron, for_systemd = (block.splitlines() for block in _blocks("sh"))
    assert for_both[2:] == [
        f"groupadd -r {group}",
        f"install -d -g {group} -m 2775 {TEXTFILES}",
    ]
    assert f" -G {group} " in for_cron[0]
    assert for_systemd[0] == "systemctl daemon-reload"
    assert {line.split()[-1] for line in for_systemd if "systemctl" in line[:9]} == {
        "daemon-reload", *_units(),
    }  # fmt: skip


def test_systemd_waits_longer_than_a_run_may_take() -> None:
    """It ends by its own deadline and its own grace, before systemd kills it."""
    service = _unit("bulkcancel.service")["Service"]
    assert parse_duration(service["TimeoutStartSec"]) > _deadline_s(service["ExecStart"])
    assert parse_duration(service["TimeoutStopSec"]) > GRACE_S
    assert service["Type"] == "oneshot"
    assert service["KillSignal"] == "SIGTERM"
    assert service["SuccessExitStatus"] == "143"


def _deadline_s(command: str) -> float:
    assert "--grace" not in command
    (deadline,) = re.findall(r"--deadline (\w+)", command)
    return parse_duration(deadline)


# Kubernetes


def _cron_job(*, sharded: bool) -> dict[str, Any]:
    """The CronJob, or what `kubectl patch` makes of it with the patch beside it."""
    whole, patch = (yaml.safe_load(block) for block in _blocks("yaml"))
    merged: dict[str, Any] = _patched(whole, patch) if sharded else whole
    return merged


def _patched(whole: Any, patch: Any) -> Any:
    """Merge as a strategic merge patch does: objects by key, containers by name, null removes."""
    if isinstance(whole, dict) and isinstance(patch, dict):
        merged = {**whole, **{k: _patched(whole.get(k), v) for k, v in patch.items()}}
        return {k: v for k, v in merged.items() if v is not None}
    if isinstance(patch, list) and isinstance(patch[0], dict):
        others = {each["name"]: each for each in patch}
        assert set(others) <= {each["name"] for each in whole}
        return [_patched(each, others.get(each["name"], {})) for each in whole]
    return patch


def _pod(cron_job: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def _arguments(cron_job: Mapping[str, Any], index: int | None = None) -> list[str]:
    """The container's arguments, with `$(NAME)` put in from its env as Kubernetes does.

    The Job's controller adds JOB_COMPLETION_INDEX to the env of each container of an Indexed Job.
    """
    (container,) = _pod(cron_job)["containers"]
    fields = {"metadata.labels['batch.kubernetes.io/job-name']": "bulkcancel-29012345"}
    env = {e["name"]: fields[e["valueFrom"]["fieldRef"]["fieldPath"]] for e in container["env"]}
    if cron_job["spec"]["jobTemplate"]["spec"].get("completionMode") == "Indexed":
        env["JOB_COMPLETION_INDEX"] = str(index)
    return [re.sub(r"\$\((\w+)\)", lambda name: env[name[1]], each) for each in container["args"]]


def _rehearsed(arguments: list[str], directory: Path) -> list[str]:
    """The same with a sandbox in place of the instance and token, and a directory as the volume."""
    line = _replaced(
        shlex.join(arguments),
        ("--instance acme --token-file /secret/token", "--sandbox"),
        ("/data/", f"{directory.as_posix()}/"),
    )
    return shlex.split(line)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("sharded", [False, True])
def test_kubernetes_knows_every_key_of_the_manifests(sharded: bool, version: str) -> None:
    """They follow its schemas to the letter; the same check does find a misspelt key."""
    cron_job = _cron_job(sharded=sharded)
    assert kubernetes_validate.validate(cron_job, version, strict=True) == version
    wrong = deepcopy(cron_job)
    job = wrong["spec"]["jobTemplate"]["spec"]
    job["podFailurPolicy"] = job.pop("podFailurePolicy")
    with pytest.raises(kubernetes_validate.ValidationError, match="podFailurPolicy"):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_the_cron_job_neither_overlaps_nor_hangs_nor_repeats_what_is_in_vain() -> None:
    """The values that schemas let pass in any spelling are those that the text speaks of."""
    cron_job = _cron_job(sharded=False)
    assert cron_job["spec"]["concurrencyPolicy"] == "Forbid"
    job = cron_job["spec"]["jobTemplate"]["spec"]
    given_up, drained = job["podFailurePolicy"]["rules"]
    assert given_up == {
        "action": "FailJob",
        "onExitCodes": {"operator": "In", "values": [2, 3, 6]},
    }
    assert drained["action"] == "Ignore"
    assert drained["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    pod = _pod(cron_job)
    assert pod["restartPolicy"] == "Never"  # what a podFailurePolicy demands
    assert pod["terminationGracePeriodSeconds"] > GRACE_S
    assert job["activeDeadlineSeconds"] > _deadline_s(" ".join(_arguments(cron_job)))


def test_the_pod_has_its_volumes_and_few_rights() -> None:
    """What is mounted is there: a directory for results, the token as a file; no root."""
    pod = _pod(_cron_job(sharded=False))
    (container,) = pod["containers"]
    assert {each["name"]: each["mountPath"] for each in container["volumeMounts"]} == {
        "data": "/data",
        "secret": "/secret",
    }
    assert all("subPath" not in each for each in container["volumeMounts"])
    data, secret = pod["volumes"]
    assert (data["name"], secret["name"]) == ("data", "secret")
    # Its files are root's and this group's: the user reads them by its group.
    assert secret["secret"]["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_command_of_the_cron_job_works_and_goes_on_at_a_second_attempt(tmp_path: Path) -> None:
    """A Job's second pod resumes what its first has done; each Job has a file of its own."""
    write_ids(tmp_path / "stuck.csv", make_ids(5))
    arguments = _rehearsed(_arguments(_cron_job(sharded=False)), tmp_path)
    first = bulkcancel(*arguments, cwd=tmp_path, env=environment(BULKCANCEL_LIMIT="3"))
    second = bulkcancel(*arguments, cwd=tmp_path)
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    (finished,) = second.events("run.finished")
    assert (finished["already_done"], finished["results"]) == (3, 5)
    assert {path.name for path in tmp_path.iterdir()} == {"stuck.csv", "bulkcancel-29012345.csv"}


def test_a_service_of_that_name_would_be_in_the_way(tmp_path: Path) -> None:
    """Kubernetes sets variables for Services, which would read as settings: they are turned off."""
    assert _pod(_cron_job(sharded=False))["enableServiceLinks"] is False
    env = environment(BULKCANCEL_SERVICE_HOST="10.0.0.1")
    done = bulkcancel("run", "--sandbox", "stuck.csv", cwd=tmp_path, env=env)
    assert done.code == 2
    assert "BULKCANCEL_SERVICE_HOST is no setting" in done.stderr


def test_the_patch_makes_an_indexed_job_with_a_shard_for_each_index() -> None:
    """As many shards as completions; a shard of failed rows is tried again without the others."""
    cron_job = _cron_job(sharded=True)
    job = cron_job["spec"]["jobTemplate"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == 8
    assert "backoffLimit" not in job
    assert job["backoffLimitPerIndex"] == 2
    for index in range(8):
        arguments = _arguments(cron_job, index)
        assert arguments[arguments.index("--shard") + 1] == f"{index}/8"
        assert arguments[arguments.index("-o") + 1] == f"/data/bulkcancel-29012345-{index}.csv"
    # But for its share and its file, each does what the run of the whole does.
    same = set(_arguments(_cron_job(sharded=False))) - {"/data/bulkcancel-29012345.csv"}
    assert same <= set(_arguments(cron_job, 0))


def test_the_shards_together_are_the_whole_input(tmp_path: Path) -> None:
    """Eight runs, each with its own results, have each ID once."""
    ids = make_ids(40)
    write_ids(tmp_path / "stuck.csv", ids)
    cron_job = _cron_job(sharded=True)
    seen: list[str] = []
    for index in range(8):
        arguments = _rehearsed(_arguments(cron_job, index), tmp_path)
        done = bulkcancel(*arguments, cwd=tmp_path, env=environment(BULKCANCEL_RATE="8000"))
        assert done.code == 0, done.stderr
        seen += [row["instanceId"] for row in done.rows(f"bulkcancel-29012345-{index}.csv")]
    assert sorted(seen) == sorted(ids)


# What stands around them


def test_the_image_starts_the_program() -> None:
    """The Dockerfile builds from a clone, and its program is bulkcancel itself, as process 1."""
    (dockerfile,) = _blocks("dockerfile")
    lines = dict(line.split(" ", 1) for line in dockerfile.splitlines())
    assert list(lines) == ["FROM", "COPY", "RUN", "ENTRYPOINT"]
    assert lines["RUN"] == f"pip install {lines['COPY'].split()[1]}"
    assert yaml.safe_load(lines["ENTRYPOINT"]) == ["bulkcancel"]
    assert _arguments(_cron_job(sharded=False))[0] == "run"


def test_every_exit_code_has_its_alert() -> None:
    """The table has a line for each code that the README lists, and for flock's two."""
    (listed,) = re.findall(r"^\*\*Exit codes\.\*\*(.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    codes = set(re.findall(r"(?:^ |· |, )([0-9]+)\b", listed))
    assert {"0", "6", "130", "143"} <= codes
    rows = re.findall(r"^\| ([0-9, ]+) \|", SECTION, re.MULTILINE)
    assert {code for row in rows for code in row.split(", ")} == codes | {"69", "75"}
    assert len(rows) <= 8


def test_the_section_is_short_enough_for_an_on_call_engineer() -> None:
    """It is read at night."""
    for page in (TOLD, CLUSTER):
        assert 40 < len(page.splitlines()) <= 150
