"""Which server is meant: what is refused by its nearest miss, and what results call it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkcancel.domo.address import base_url_of, host_of
from bulkcancel.errors import UsageError
from bulkcancel.ids import PageHost
from bulkcancel.results.codec import Format
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import bulkcancel, write_ids
from tests.support.results import content, result
from tests.support.runs import make_ids

IDS = make_ids(3)


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1", "192.168.1.1", "172.16.0.1:8080", "169.254.1.1", "100.64.0.1", "[fd00::1]",
        "[fe80::1]", "0.0.0.0", "[::]", "128.0.0.1", "126.255.255.255", "[::2]", "127.1",
        "2130706433", "0x7f.1", "localhost.evil.com", "127.0.0.1.evil.com", "mylocalhost",
        "localhosts", "gateway", "acme.domo.com", "127.0.0.1@evil.com",
    ],
)  # fmt: skip
def test_the_token_never_leaves_this_machine_in_clear(host: str) -> None:
    """A private network is a network, and a name that looks like loopback is not."""
    with pytest.raises(UsageError):
        base_url_of(None, f"http://{host}")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "127.255.255.254:8099", "[::1]", "localhost", "LOCALHOST"]
)
def test_http_to_this_machine(host: str) -> None:
    """All of 127.0.0.0/8 is loopback."""
    assert base_url_of(None, f"http://{host}").lower() == f"http://{host}".lower()


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://acme.domo.com", "acme.domo.com"),
        ("https://ACME.domo.com:443/", "acme.domo.com"),
        ("https://gw.example.com:8443/domo/", "gw.example.com:8443/domo"),
        ("https://gw.example.com/domo/Emea", "gw.example.com/domo/Emea"),
        ("https://gw.example.com:80", "gw.example.com:80"),
        ("http://127.0.0.1:8099", "127.0.0.1:8099"),
        ("http://127.0.0.1:80", "127.0.0.1"),
        ("http://127.0.0.1:443", "127.0.0.1:443"),
        ("http://[::1]:8099/x", "[::1]:8099/x"),
        ("https://[2001:DB8::1]", "[2001:db8::1]"),
    ],
)
def test_what_results_call_a_server(base_url: str, host: str) -> None:
    """Its port where that is not the scheme's own, and its path."""
    assert host_of(base_url_of(None, base_url)) == host


def test_no_server_is_called_as_the_sandbox_is() -> None:
    """Else a rehearsal's rows would be taken for the real thing; with a port they are not."""
    with pytest.raises(UsageError, match="could not be told from those of the sandbox"):
        base_url_of(None, "https://Sandbox/")
    assert host_of(base_url_of(None, "https://sandbox:8443")) == "sandbox:8443"
    assert host_of(base_url_of("sandbox", None)) == "sandbox.domo.com"


@pytest.mark.parametrize(
    ("host", "pages"),
    [
        ("acme.domo.com", "acme.domo.com"),
        ("acme.domo.com:8443", "acme.domo.com"),
        ("acme.domo.com/api", "acme.domo.com"),
        ("gw.example.com/acme.domo.com", None),
        ("[::1]:8099", None),
        ("sandbox", None),
    ],
)
def test_whose_pages_a_run_takes(host: str, pages: str | None) -> None:
    """A port or a path makes no other instance of it, and a path no instance at all."""
    assert PageHost.of_run(host).name == pages


def _rows(tmp_path: Path, *hosts: str) -> None:
    write_ids(tmp_path / "ids.txt", IDS)
    rows = (result(each, host=host) for each, host in zip(IDS, hosts, strict=False))
    (tmp_path / "results.csv").write_bytes(content(Format.CSV, *rows))


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ("127.0.0.1:9", ()),
        ("127.0.0.1", ()),
        ("{host}/domo", ()),
        ("{host}", ("--base-url", "{base}/domo")),
        ("sandbox", ()),
        ("{host}", ("--sandbox",)),
    ],
)
def test_another_server_behind_the_same_name(
    tmp_path: Path, written: str, options: tuple[str, ...]
) -> None:
    """A rehearsal is never taken for the real run, nor one tunnel for another: exit 2."""
    with running_in_thread(FaultyServer()) as server:
        names = {"host": server.host, "base": server.base_url}
        there = written.format(**names)
        _rows(tmp_path, there)
        before = (tmp_path / "results.csv").read_bytes()
        target = options or ("--base-url", "{base}")
        target = tuple(each.format(**names) for each in target)
        done = bulkcancel("run", "ids.txt", *target, "--resume", cwd=tmp_path)
        assert server.requests == []
    assert done.code == 2
    assert f"a result of {there}, not of " in done.stderr
    meant = "sandbox" if "--sandbox" in target else host_of(target[1])
    assert f"not of {meant}: " in done.stderr
    assert (tmp_path / "results.csv").read_bytes() == before


@pytest.mark.parametrize("path", ["", "/domo"])
def test_the_same_server_is_resumed(tmp_path: Path, path: str) -> None:
    """By port and path; its rows say both."""
    with running_in_thread(FaultyServer()) as server:
        _rows(tmp_path, f"{server.host}{path}")
        target = ("--base-url", f"{server.base_url}{path}/", "--resume", "--rate", "500")
        done = bulkcancel("run", "ids.txt", *target, cwd=tmp_path)
        assert len(server.requests) == 2
    assert done.code == 0, done.stderr
    assert {row["host"] for row in done.rows()} == {f"{server.host}{path}"}


def test_a_rehearsal_is_called_one(tmp_path: Path) -> None:
    """In the plan, in each row, and it goes on with its own results."""
    write_ids(tmp_path / "ids.txt", IDS)
    for options in ((), ("--resume",)):
        done = bulkcancel("run", "ids.txt", "--sandbox", *options, cwd=tmp_path)
        assert done.code == 0, done.stderr
        (planned,) = done.events("run.planned")
        assert planned["host"] == "sandbox (nothing is real)"
        assert {row["host"] for row in done.rows()} == {"sandbox"}
