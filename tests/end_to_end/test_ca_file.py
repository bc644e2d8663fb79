"""Whose certificates a run trusts, and what is said of one that nobody vouches for."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
import trustme

from bulkcancel import DomoClient, UsageError, cancel_many
from bulkcancel.errors import UntrustedError
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Finished, bulkcancel, environment, write_ids
from tests.support.proxy_server import recording_proxy
from tests.support.runs import TOKEN, make_ids
from tests.support.tls import authority_file, certified, handshakes_may_fail, trusting

IDS = make_ids(10)
ISSUER = "trustme"  # the organization that all of its authorities have


@contextmanager
def _server(authority: trustme.CA, name: str = "localhost") -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer(ssl=certified(authority, name))) as server:
        yield server


def _run(server: FaultyServer, folder: Path, *options: str, **env: str) -> Finished:
    if not (folder / "ids.txt").exists():
        write_ids(folder / "ids.txt", IDS)
    return bulkcancel(
        "run", "ids.txt", "--base-url", f"https://localhost:{server.port}", "--rate", "400",
        "--overwrite", *options, cwd=folder, env=environment(**env),
    )  # fmt: skip


def _reason(done: Finished) -> str:
    assert done.code == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert all(row["outcome"] == "failed" for row in done.rows())
    (finished,) = done.events("run.finished")
    return str(finished["reason"])


def test_an_authority_in_a_ca_file_is_trusted(tmp_path: Path) -> None:
    """By that option alone; without it the run ends before anything is sent."""
    authority = trustme.CA()
    authority_file(authority, tmp_path, "ours.pem")
    with _server(authority) as server:
        _reason(_run(server, tmp_path))
        assert server.requests == []
        done = _run(server, tmp_path, "--ca-file", "ours.pem")
        assert server.times_seen == dict.fromkeys(IDS, 1)
    assert done.code == 0, done.stderr


def test_a_ca_file_is_trusted_besides_the_others(tmp_path: Path) -> None:
    """Those in SSL_CERT_FILE stay trusted."""
    one, other = trustme.CA(), trustme.CA()
    trust = trusting(one, tmp_path)
    authority_file(other, tmp_path, "ours.pem")
    for authority in (one, other):
        with _server(authority) as server:
            done = _run(server, tmp_path, "--ca-file", "ours.pem", **trust)
            assert done.code == 0, done.stderr
            assert server.times_seen == dict.fromkeys(IDS, 1)


def test_a_ca_file_may_hold_several_authorities(tmp_path: Path) -> None:
    """Each of them is trusted, whatever stands between them."""
    authorities = [trustme.CA(), trustme.CA()]
    text = "".join(f"# one of ours\n{each.cert_pem.bytes().decode()}" for each in authorities)
    (tmp_path / "ours.pem").write_text(text)
    for authority in authorities:
        with _server(authority) as server:
            done = _run(server, tmp_path, "--ca-file", "ours.pem")
            assert done.code == 0, done.stderr


MUST_HOLD = "it must hold them in PEM (-----BEGIN CERTIFICATE-----)"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("a directory", "Is a directory"),
        (b"", MUST_HOLD),
        (b"no certificate\n", MUST_HOLD),
        (b"\x00\xff\xfe", MUST_HOLD),
        (b"-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n", MUST_HOLD),
    ],
)
def test_a_ca_file_without_certificates_is_refused(
    tmp_path: Path, content: bytes | str | None, reason: str
) -> None:
    """Exit 2 with the file's name and what is wrong with it; nothing is sent."""
    path = tmp_path / "ours.pem"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    with running_in_thread(FaultyServer()) as server:
        done = _run(server, tmp_path, "--ca-file", "ours.pem")
        assert server.connections == 0
    assert done.code == 2
    (refused,) = done.events("run.refused")
    said = f"cannot read certificates from the CA file 'ours.pem': {reason}"
    assert refused["error"] == said
    assert not (tmp_path / "results.csv").exists()


def test_a_key_is_no_certificate(tmp_path: Path) -> None:
    """The wrong one of two files that lie side by side is told as such; it is not shown."""
    key = trustme.CA().private_key_pem.bytes()
    (tmp_path / "ours.pem").write_bytes(key)
    with pytest.raises(UsageError, match=r"it must hold them in PEM") as caught:
        DomoClient("acme", token=TOKEN, ca_file=str(tmp_path / "ours.pem"))
    assert key.decode().splitlines()[1] not in str(caught.value)


def test_a_ca_file_that_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    """The results are not written over it."""
    authority_file(trustme.CA(), tmp_path, "ours.pem")
    before = (tmp_path / "ours.pem").read_bytes()
    with running_in_thread(FaultyServer()) as server:
        done = _run(server, tmp_path, "--ca-file", "ours.pem", "-o", "ours.pem")
    assert done.code == 2
    assert "the CA file" in done.stderr
    assert (tmp_path / "ours.pem").read_bytes() == before


@pytest.mark.parametrize("through_a_proxy", [False, True])
def test_who_issued_an_untrusted_certificate_is_told(tmp_path: Path, through_a_proxy: bool) -> None:
    """Exit 4 with the issuer and both ways to trust it; no request reaches the server."""
    with _server(trustme.CA(organization_name="Our Own Authority")) as server:
        if through_a_proxy:
            with recording_proxy() as proxy:
                done = _run(server, tmp_path, HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}")
                assert f"through the proxy http://127.0.0.1:{proxy.port}: " in _reason(done)
                assert TOKEN.encode() not in proxy.through
        else:
            done = _run(server, tmp_path)
        assert server.requests == []
    reason = _reason(done)
    assert f"no trusted TLS connection to localhost:{server.port} (tls: " in reason
    assert "unable to get local issuer certificate" in reason
    assert "(its issuer is " in reason
    assert "O=Our Own Authority" in reason
    advice = "nothing was sent over it; if it is to be trusted, give its certificate in "
    assert reason.endswith(f"{advice}SSL_CERT_FILE or --ca-file")
    (row, *_) = done.rows()
    assert "O=Our Own Authority" in row["error"]


def test_a_self_signed_certificate_is_told_like_one(tmp_path: Path) -> None:
    """It is its own issuer, and may be trusted like any."""
    authority = trustme.CA(organization_name="Only Itself")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = tmp_path / "self.pem"
    pem.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context.load_cert_chain(pem)
    with running_in_thread(FaultyServer(ssl=context)) as server:
        reason = _reason(_run(server, tmp_path))
        assert server.requests == []
    assert "O=Only Itself" in reason
    assert reason.endswith("--ca-file")


@pytest.mark.parametrize("wrong", ["expired", "for another host"])
def test_what_no_authority_would_mend_is_not_advised(tmp_path: Path, wrong: str) -> None:
    """An authority that is trusted already: its certificate is too old, or not the host's."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if wrong == "expired":
        certificate = authority.issue_cert(
            "localhost", not_after=datetime.now(UTC) - timedelta(days=1)
        )
    else:
        certificate = authority.issue_cert("other.example")
    certificate.configure_cert(context)
    with running_in_thread(FaultyServer(ssl=context)) as server:
        authority_file(authority, tmp_path, "ours.pem")
        reason = _reason(_run(server, tmp_path, "--ca-file", "ours.pem"))
        assert server.requests == []
    assert ("has expired" if wrong == "expired" else "ostname mismatch") in reason
    assert reason.endswith("nothing was sent over it")
    for word in ("--ca-file", "SSL_CERT_FILE", ISSUER):
        assert word not in reason


def test_the_library_calls_it_by_its_own_name(tmp_path: Path) -> None:
    """`cancel_many` says `ca_file`, which is the argument that helps; and with it all goes well."""
    authority = trustme.CA()
    path = authority_file(authority, tmp_path)

    async def cancel(url: str, ca_file: str | None) -> list[str]:
        async with DomoClient(base_url=url, token=TOKEN, ca_file=ca_file) as client:
            return [each.instance_id async for each in cancel_many(IDS, client=client)]

    with _server(authority) as server:
        url = f"https://localhost:{server.port}"
        with handshakes_may_fail(), pytest.raises(UntrustedError) as caught:
            anyio.run(cancel, url, None)
        assert server.requests == []
        assert sorted(anyio.run(cancel, url, path)) == sorted(IDS)
    assert str(caught.value).endswith("give its certificate in SSL_CERT_FILE or ca_file")
    assert ISSUER in str(caught.value)
    assert caught.value.name == "ca_file"
    assert caught.value.exit_code == 4
