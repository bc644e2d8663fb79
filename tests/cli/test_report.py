"""`bulkcancel report`: what it prints, where the page may go, and what it refuses."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bulkcancel.models import Outcome
from bulkcancel.results.codec import Format
from tests.support.processes import bulkcancel, command, environment
from tests.support.results import content, result
from tests.support.runs import make_ids

IDS = make_ids(4)
HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[2J\u202e[bold]{{ 7*7 }}"
ROWS = [
    result(IDS[0], Outcome.ACCEPTED),
    result(IDS[1], Outcome.CANCELED, model_name=HOSTILE),
    result(IDS[2], Outcome.FAILED, error=f"server_error: {HOSTILE} {IDS[2]}", source="a.csv:9"),
    result("=cmd()", Outcome.INVALID, latency_ms=None, model_name=None, model_version=None),
]
TEXT, NARROW = environment(COLUMNS="96"), environment(COLUMNS="40")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results file with a bit of everything."""
    path = tmp_path / "results.csv"
    path.write_bytes(content(Format.CSV, *ROWS))
    return path


def test_it_tells_what_the_file_says(tmp_path: Path, results: Path) -> None:
    """Counts, models, errors with an example and its line, latency, and what to do next."""
    done = bulkcancel("report", "results.csv", cwd=tmp_path, env=TEXT)
    assert (done.code, done.stderr) == (0, "")
    for words in (
        "4: 2 succeeded, 2 failed",
        "2026-03-04T05:06:07.890Z",
        f"    {IDS[2]}  a.csv:9",
        "p50 12 ms",
        "bulkcancel run INPUT --resume -o results.csv\n",
        "bulkcancel verify results.csv\n",
    ):
        assert words in done.stdout
    assert results.read_bytes() == content(Format.CSV, *ROWS)


def test_a_peak_is_told_where_it_is_one(tmp_path: Path) -> None:
    """Bars are cut at both ends: those of a short run may all be below its mean."""
    began = ROWS[0].finished_at.replace(microsecond=50_000)
    rows = [
        result(each, finished_at=began + timedelta(milliseconds=100 * n))
        for n, each in enumerate(make_ids(5))
    ]
    (tmp_path / "r.csv").write_bytes(content(Format.CSV, *rows))
    even = bulkcancel("report", "r.csv", cwd=tmp_path, env=TEXT)
    assert "throughput  12 IDs a second; 5 requests for 5 IDs" in even.stdout
    rows[2] = rows[2]._replace(finished_at=rows[1].finished_at)
    (tmp_path / "r.csv").write_bytes(content(Format.CSV, *rows))
    uneven = bulkcancel("report", "r.csv", cwd=tmp_path, env=TEXT)
    assert "throughput  12 IDs a second, 20 at most; 5 requests" in uneven.stdout


def test_hostile_names_are_harmless_on_a_terminal_and_in_json(tmp_path: Path) -> None:
    """No escape sequence, no bidi mark, no markup gets through."""
    (tmp_path / "r.jsonl").write_bytes(content(Format.JSONL, *ROWS))
    for arguments in ([], ["--json"]):
        done = bulkcancel("report", "r.jsonl", *arguments, cwd=tmp_path, env=TEXT)
        assert done.code == 0
        assert not {"\x1b", "\u202e"} & set(done.stdout)
        assert "[bold]" in done.stdout
    models = json.loads(done.stdout)["models"]
    assert HOSTILE in [model["name"] for model in models]


def test_json_is_one_document_with_the_page_beside_it(tmp_path: Path, results: Path) -> None:
    """Both at once; the page is the user's alone, and replaced whole."""
    page = tmp_path / "report.html"
    page.write_text("old")
    done = bulkcancel("report", results, "--json", "--html", page, cwd=tmp_path)
    said = json.loads(done.stdout)
    assert done.code == 0
    assert said["schema"] == 1
    assert said["outcomes"] == {"accepted": 1, "canceled": 1, "invalid": 1, "failed": 1}
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    if sys.platform != "win32":
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == [page, results]


def test_the_page_alone_goes_to_standard_output(tmp_path: Path, results: Path) -> None:
    """Nothing else does."""
    done = bulkcancel("report", "--html", "-", results, cwd=tmp_path)
    assert done.code == 0
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert done.stdout.endswith("</html>")


def test_standard_input_is_read_alone_or_with_files(tmp_path: Path, results: Path) -> None:
    """A pipe is copied where rows have to be read twice."""
    other = content(Format.JSONL, ROWS[0]._replace(outcome=Outcome.CANCELED), ROWS[1])
    done = bulkcancel("report", "-", "--json", cwd=tmp_path, stdin=other)
    assert json.loads(done.stdout)["outcomes"] == {"canceled": 2}
    done = bulkcancel("report", results, "-", "--json", cwd=tmp_path, stdin=other)
    said = json.loads(done.stdout)
    assert (said["rows"], said["superseded"]) == (4, 2)
    assert said["outcomes"] == {"canceled": 2, "invalid": 1, "failed": 1}


@pytest.mark.parametrize("data", [b"", Format.CSV.header, Format.CSV.header[:20]])
def test_no_row_is_said_in_words(tmp_path: Path, data: bytes) -> None:
    """It is no mistake: a run may just have begun."""
    (tmp_path / "results.csv").write_bytes(data)
    done = bulkcancel("report", "results.csv", "--html", "page.html", cwd=tmp_path)
    assert done.code == 0
    assert "There is no row yet" in done.stdout
    assert "There is no row yet" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no results file is named: bulkcancel report results.csv"),
        (["nix.csv"], "there is no results file nix.csv"),
        ([""], "no results file is named"),
        (["results.csv", "./results.csv"], "a results file is named twice"),
        (["results.csv", "--html", "results.csv"], "is a results file and cannot be the page"),
        (["results.csv", "--html", "link.csv"], "is a results file and cannot be the page"),
        (["results.csv", "--html", "no/page.html"], "the page no/page.html: there is no directory"),
        (["results.csv", "--html", "."], "the page . is a directory"),
        (["results.csv", "--html", ""], "--html is empty"),
        (["results.csv", "--json", "--html", "-"], "both on standard output"),
        (["results.csv", "--json", "--html", "/dev/stdout"], "both on standard output"),
        (["results.csv", "--jsn"], "unknown option --jsn: did you mean --json?"),
        (["other.csv"], "other.csv is not a results file of bulkcancel"),
        (["saved.csv"], "saved.csv was saved by another program, which changes line ends"),
        (["."], "cannot read .: Is a directory"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="names of devices, words of the system")
def test_mistakes_are_told_in_a_sentence(
    tmp_path: Path, results: Path, arguments: list[str], said: str
) -> None:
    """Exit 2; nothing is written."""
    (tmp_path / "link.csv").symlink_to("results.csv")
    (tmp_path / "other.csv").write_text("id,state\n1,2\n")
    changed = b"\xef\xbb\xbf" + results.read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "saved.csv").write_bytes(changed)
    before = sorted(tmp_path.iterdir()), results.read_bytes()
    done = bulkcancel("report", *arguments, cwd=tmp_path, env=environment(LC_ALL="C.UTF-8"))
    assert done.code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert (sorted(tmp_path.iterdir()), results.read_bytes()) == before


def test_commands_to_copy_stay_in_one_line(tmp_path: Path) -> None:
    """However narrow the terminal, and quoted for the shell."""
    name = f"{'a' * 50} b.csv"
    (tmp_path / name).write_bytes(content(Format.CSV, ROWS[0]))
    done = bulkcancel("report", name, cwd=tmp_path, env=NARROW)
    assert f"  bulkcancel verify '{name}'\n" in done.stdout


def test_a_rehearsal_can_be_resumed_but_not_verified(tmp_path: Path) -> None:
    """The sandbox of its run, which alone knew of the cancels, is gone."""
    rows = [each._replace(host="sandbox") for each in ROWS]
    (tmp_path / "r.csv").write_bytes(content(Format.CSV, *rows))
    done = bulkcancel("report", "r.csv", cwd=tmp_path, env=TEXT)
    assert "  bulkcancel run INPUT --resume -o r.csv --sandbox\n" in done.stdout
    assert "verify" not in done.stdout


def test_a_terminal_that_knows_ascii_alone(tmp_path: Path, results: Path) -> None:
    """Is no reason to fail."""
    env = environment(PYTHONIOENCODING="ascii", COLUMNS="96")
    done = bulkcancel("report", results, cwd=tmp_path, env=env)
    assert (done.code, done.stderr) == (0, "")
    assert "2 succeeded" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--html", "-")])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_standard_output_that_is_full_is_a_sentence(
    tmp_path: Path, results: Path, arguments: tuple[str, ...]
) -> None:
    """Exit 2, and no fault of ours is claimed."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("report", results, *arguments), cwd=tmp_path, env=TEXT, stdout=full,
            stderr=subprocess.PIPE, timeout=60, check=False, encoding="utf-8",
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "bulkcancel: cannot write to standard output: No space left on device"
    )


@pytest.mark.parametrize("columns", ["0", "2"])
def test_a_terminal_of_no_known_width_still_shows_all(
    tmp_path: Path, results: Path, columns: str
) -> None:
    """Some tools say `COLUMNS=0` where they cannot tell: that is not a width of nothing."""
    helped = bulkcancel("run", "--help", cwd=tmp_path, env=environment(COLUMNS=columns))
    assert "--concurrency" in helped.stdout
    done = bulkcancel("report", results, cwd=tmp_path, env=environment(COLUMNS=columns))
    assert done.code == 0
    assert "2 succeeded, 2 failed" in done.stdout
