"""The token: where it is taken from, and what is refused without ever being shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkcancel.cli import token as module
from bulkcancel.cli.token import read_token
from bulkcancel.errors import UsageError
from tests.support.processes import CANARY, bulkcancel, environment, write_ids
from tests.support.runs import make_ids

_DEVELOPER, _ACCESS = "DOMO_DEVELOPER_TOKEN", "DOMO_ACCESS_TOKEN"


@pytest.fixture(autouse=True)
def _nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """No token in the environment, no terminal."""
    monkeypatch.delenv(_DEVELOPER, raising=False)
    monkeypatch.delenv(_ACCESS, raising=False)
    monkeypatch.setattr(module, "is_interactive", lambda: False)


REFUSED = {
    f'"{CANARY}"': "in quotes",
    f"'{CANARY}'": "in quotes",
    f'"{CANARY}': "in quotes",
    f"{CANARY}'": "in quotes",
    f"`{CANARY}`": "in quotes",
    f"“{CANARY}”": "in quotes",
    f"{_DEVELOPER}={CANARY}": "NAME=token",
    f"{_DEVELOPER} = {CANARY}": "NAME=token",
    f'{_DEVELOPER}="{CANARY}"': "in quotes",
    f"export {_DEVELOPER}={CANARY}": "NAME=token",
    f"set {_DEVELOPER}={CANARY}": "NAME=token",
    f"$env:{_DEVELOPER} = {CANARY}": "NAME=token",
    f"token={CANARY}": "NAME=token",
    f"token: {CANARY}": "NAME=token",
    f"X-DOMO-Developer-Token: {CANARY}": "NAME=token",
    f"Bearer {CANARY}": "Bearer",
    f"{CANARY} {CANARY}": "a space",
    f"{CANARY}\n{CANARY}": "line break",
    f"{CANARY}\t{CANARY}": "control character",
    f"{CANARY}\x7f": "control character",
    f"{CANARY}é": "ASCII",
    f"\ufeff{CANARY}": "ASCII",
    f"{CANARY}\u200b": "ASCII",
    "": "empty",
    " \r\n\t": "empty",
}


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("place", ["variable", "file"])
def test_what_is_no_bare_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, text: str
) -> None:
    """With the reason and where it stands, and without a part of it."""
    path = tmp_path / "secret.txt"
    if place == "file":
        path.write_text(f"\ufeff{text}", encoding="utf-8")
    else:
        monkeypatch.setenv(_DEVELOPER, text)
    with pytest.raises(UsageError, match=REFUSED[text]) as caught:
        read_token(str(path) if place == "file" else None)
    said = str(caught.value)
    assert (str(path) if place == "file" else _DEVELOPER) in said
    assert CANARY not in said
    assert "canary" not in said


@pytest.mark.parametrize(
    "token", [CANARY, "abc=", "YWJj==", "a+b/c==", "1=a", "eyJh.eyJi.c-_d", 'a"b', "x", "-", "a:b"]
)
def test_an_unusual_token_is_taken(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """What Base64 ends in is no assignment; white space around it does not count."""
    monkeypatch.setenv(_DEVELOPER, f" {token}\r\n")
    assert read_token(None) == token


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_token_file_in_utf_16(tmp_path: Path, encoding: str, bom: str) -> None:
    """As PowerShell's `>` writes it, with a mark at its start or without."""
    path = tmp_path / "secret.txt"
    path.write_bytes(f"{bom}{CANARY}\r\n".encode(encoding))
    with pytest.raises(UsageError, match="save it as UTF-8") as caught:
        read_token(str(path))
    assert CANARY not in str(caught.value)


def test_a_token_file_in_utf_8_with_a_mark(tmp_path: Path) -> None:
    """As Notepad writes it."""
    path = tmp_path / "secret.txt"
    path.write_bytes(f"\ufeff{CANARY}\r\n".encode())
    assert read_token(str(path)) == CANARY


def test_a_token_file_that_is_no_text(tmp_path: Path) -> None:
    """A key store, say."""
    path = tmp_path / "secret.txt"
    path.write_bytes(b"\xff\x80\x81")
    with pytest.raises(UsageError, match="not text"):
        read_token(str(path))


def test_the_order_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beats DOMO_DEVELOPER_TOKEN, which beats DOMO_ACCESS_TOKEN."""
    (tmp_path / "secret.txt").write_text("from-file")
    monkeypatch.setenv(_ACCESS, "from-access")
    assert read_token(None) == "from-access"
    monkeypatch.setenv(_DEVELOPER, "from-developer")
    assert read_token(None) == "from-developer"
    assert read_token(str(tmp_path / "secret.txt")) == "from-file"


def test_an_empty_variable_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """`DOMO_DEVELOPER_TOKEN=$UNSET` is a mistake to be told, not another token to be used."""
    monkeypatch.setenv(_ACCESS, "from-access")
    monkeypatch.setenv(_DEVELOPER, "")
    with pytest.raises(UsageError, match=f"{_DEVELOPER} holds no token"):
        read_token(None)


@pytest.mark.parametrize("text", [f'"{CANARY}"', f"{_DEVELOPER}={CANARY}"])
def test_the_command_shows_none_of_it(tmp_path: Path, text: str) -> None:
    """Exit 2 and a sentence; the token is in no output and no file (checked by the helper)."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(1))
    env = environment(DOMO_DEVELOPER_TOKEN=text)
    done = bulkcancel("run", ids, "--instance", "acme", cwd=tmp_path, env=env)
    assert done.code == 2
    assert _DEVELOPER in done.stderr
    assert not (tmp_path / "results.csv").exists()
