"""What is listed for `run`, end to end: arguments, nothing at all, parts of it, and no more."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import (
    Finished,
    bulkcancel,
    command,
    ended,
    environment,
    running,
    write_ids,
)
from tests.support.runs import make_ids
from tests.support.waiting import until

IDS = make_ids(40)
A, B, C = IDS[:3]
PAGE = f"https://acme.domo.com/workflows/instances/{C}/1.0.0/"
OTHER_PAGE = PAGE.replace("acme", "acme-test")
FORBIDDEN: set[str] = set()


def _plan(instance_id: str, _nth: int) -> Answer:
    return answers.problem(403) if instance_id in FORBIDDEN else answers.ok(instance_id)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    FORBIDDEN.clear()
    with running_in_thread(FaultyServer(_plan)) as running:
        yield running


def _run(cwd: Path, server: FaultyServer, *arguments: str, stdin: bytes | None = None) -> Finished:
    target = ("--base-url", server.base_url, "--rate", "10000")
    done = bulkcancel("run", *arguments, *target, cwd=cwd, stdin=stdin)
    assert "Traceback" not in done.stderr
    return done


def _sent(server: FaultyServer) -> list[str]:
    """The IDs sent since the last call."""
    ids = [seen.instance_id for seen in server.requests]
    server.requests.clear()
    return ids


def test_ids_can_be_arguments(tmp_path: Path, server: FaultyServer) -> None:
    """Bare or as a page's address, among files; the results tell which argument it was."""
    write_ids(tmp_path / "ids.txt", [A, B])
    done = _run(tmp_path, server, B.upper(), "ids.txt", f"{PAGE}{C}?_wfv=view")
    assert done.code == 0, done.stderr
    assert sorted(_sent(server)) == sorted([A, B, C])
    assert {row["instanceId"]: row["source"] for row in done.rows()} == {
        B: "argument:1",
        A: "ids.txt:1",
        C: "argument:3",
    }
    (end,) = done.events("run.finished")
    assert (end["rows_in"], end["duplicates"]) == (4, 1)


def test_a_file_called_like_an_id_is_read(tmp_path: Path, server: FaultyServer) -> None:
    """What is there as a file is the file that is meant."""
    write_ids(tmp_path / A, [B])
    assert _run(tmp_path, server, A).code == 0
    assert _sent(server) == [B]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((A[:-1],), "No such file or directory; as an instance ID it is not a UUID"),
        ((f"{{{A}}}",), "a UUID in brackets"),
        ((A.replace("-", ""),), "a UUID without its dashes"),
        ((f"{A},{B}",), "as an instance ID it is not a UUID"),
        ((f"https://acme.domo.com/x/{A}",), "an address that is not an executions page"),
        (("gone.csv",), 'cannot read gone.csv: No such file or directory"'),
        ((A, "--column", "id"), "no --column, no --where"),
        ((A, "--where", "x=y"), "no --column, no --where"),
        ((f"{PAGE}{A}", f"{OTHER_PAGE}{B}"), "page on acme-test.domo.com"),
        (("",), "is an empty text"),
        ((A, ""), "is an empty text"),
    ],
)
def test_what_is_nearly_an_id_is_refused(
    tmp_path: Path, server: FaultyServer, arguments: tuple[str, ...], message: str
) -> None:
    """Exit 2 with the reason, and nothing is sent."""
    done = _run(tmp_path, server, *arguments)
    assert done.code == 2, done.stderr
    assert message in done.stderr
    assert _sent(server) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["file", "argument", "redirected"])
def test_a_page_of_another_instance_is_refused(tmp_path: Path, given: str) -> None:
    """Before a token is asked for: the ID of one instance is never sent to another."""
    for page, code in ((f"{PAGE}{A}", 0), (f"{OTHER_PAGE}{A}", 2)):
        path = write_ids(tmp_path / "ids.txt", [B, page])
        name = {"file": "ids.txt", "argument": page, "redirected": "-"}[given]
        options = ("--instance", "acme", "--dry-run")
        done = bulkcancel("run", name, *options, cwd=tmp_path, stdin=path)
        assert done.code == code, done.stderr
        if code:
            assert "line 2: this is a page on" in done.stderr or given == "argument"
            assert "page on acme-test.domo.com, the run is about acme.domo.com" in done.stderr


@pytest.mark.parametrize(
    "late",
    ['x,"y', f"parent,instanceId\n{B},{C}", f"{OTHER_PAGE}{C},x\n{PAGE}{C},x", "\0"],
)
def test_a_redirected_file_is_checked_whole(
    tmp_path: Path, server: FaultyServer, late: str
) -> None:
    """`run - < file`: a broken row at its end, and nothing at all is sent."""
    path = tmp_path / "runs.csv"
    path.write_text("instanceId,n\n" + "".join(f"{each},x\n" for each in IDS[3:]) + f"{late}\n")
    done = bulkcancel("run", "-", "--base-url", server.base_url, cwd=tmp_path, stdin=path)
    assert done.code == 2, done.stderr
    assert "standard input, line 3" in done.stderr or "standard input, line 4" in done.stderr
    assert _sent(server) == []
    assert [each.name for each in tmp_path.iterdir()] == ["runs.csv"]


@pytest.mark.parametrize(
    "late", [f"parentInstanceId,instanceId\n{B},{C}\n", f"{PAGE}{C},x\n{OTHER_PAGE}{B},x\n"]
)
def test_a_pipe_stops_where_something_else_begins(
    tmp_path: Path, server: FaultyServer, late: str
) -> None:
    """What came before is done and written; exit 4, as it has been sent."""
    with running(
        "-", "--base-url", server.base_url, cwd=tmp_path, stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(f"instanceId,parentInstanceId\n{A},{B}\n".encode())
        process.stdin.flush()
        until(lambda: len(server.requests) == 1)
        process.stdin.write(late.encode())
        process.stdin.close()
        process.stdin = None
        done = ended(process, tmp_path, 20)
    assert done.code == 4, done.stderr
    assert _sent(server) == [A]
    assert [row["instanceId"] for row in done.rows()] == [A]
    (end,) = done.events("run.finished")
    assert "standard input, line" in str(end["reason"])


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("empty", ["/dev/null", "pipe", "file"])
def test_nothing_named_and_nothing_there_is_bad_usage(
    tmp_path: Path, empty: str, explicit: bool, options: tuple[str, ...]
) -> None:
    """`bulkcancel run $F` with an empty F, from a schedule: exit 2, not a quiet success."""
    (tmp_path / "empty").touch()
    stdin = {"/dev/null": None, "pipe": b"", "file": tmp_path / "empty"}[empty]
    words = ("run", *["-"] * explicit, "--sandbox", *options)
    done = bulkcancel(*words, cwd=tmp_path, stdin=stdin)
    assert done.code == (0 if explicit else 2), done.stderr
    assert ("no input" in done.stderr.lower()) is not explicit


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_nothing_named_and_standard_input_closed(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Bad usage as well."""
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *command("run", "--sandbox", *options)],
        cwd=tmp_path, env=environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert b"no input" in done.stderr.lower()


def test_an_empty_file_is_nothing_to_cancel(tmp_path: Path, server: FaultyServer) -> None:
    """It was named, so it is meant: exit 0, and said."""
    (tmp_path / "empty.csv").touch()
    done = _run(tmp_path, server, "empty.csv")
    assert done.code == 0
    assert "Nothing to cancel." in done.stderr


@pytest.mark.parametrize("name", ["runs.csv", "-"])
def test_where_that_leaves_out_everything_warns(
    tmp_path: Path, server: FaultyServer, name: str
) -> None:
    """With the values that are there, made visible, shortened, ten at most."""
    rows = [f"{each},{n % 12}-\x1b{'x' * 60}\n" for n, each in enumerate(IDS)]
    content = "instanceId,status\n" + "".join(rows)
    (tmp_path / "runs.csv").write_text(content)
    stdin = content.encode() if name == "-" else None
    done = _run(tmp_path, server, name, "--where", "status=STUCK", stdin=stdin)
    assert done.code == 0, done.stderr
    assert _sent(server) == []
    assert '--where leaves out every row: \\"status\\" holds \\"0-' in done.stderr
    assert all(f'\\"{n}-' in done.stderr for n in range(10))
    assert '\\"10-' not in done.stderr
    assert "x" * 41 not in done.stderr
    some = _run(tmp_path, server, name, "--where", "status!=STUCK", "--overwrite", stdin=stdin)
    assert "leaves out every row" not in some.stderr


@pytest.mark.parametrize("name", ["ids.txt", "-"])
def test_limit_takes_the_next_ones_again_and_again(
    tmp_path: Path, server: FaultyServer, name: str
) -> None:
    """Until all have been sent; what failed the last time waits behind what has not been sent."""
    FORBIDDEN.update(IDS[2:5])
    listed = [*IDS[:25], IDS[0], "bad"]
    write_ids(tmp_path / "ids.txt", listed)
    stdin = "".join(f"{each}\n" for each in listed).encode() if name == "-" else None
    sent = []
    for turn in range(4):
        options = ("--limit", "10", "--resume", "--concurrency", "1")
        done = _run(tmp_path, server, name, *options, "--expect-count", "25", stdin=stdin)
        assert done.code == 1, done.stderr  # the forbidden ones
        sent.append(_sent(server))
        (end,) = done.events("run.finished")
        assert (end["rows_in"], end["duplicates"]) == (27, 1)
        # Earlier failures keep their rows until they are sent again.
        assert end["not_reached"] == [15, 5, 0, 0][turn]
        assert len(done.rows()) == [11, 21, 26, 26][turn]
    last = [*IDS[20:25], *IDS[2:5]]
    assert sent == [IDS[:10], IDS[10:20], last, IDS[2:5]]
    assert len(done.rows()) == 26
