"""Which proxy a client goes through, by what is given and by the environment."""

from __future__ import annotations

import pytest

from bulkcancel.domo.client import DomoClient
from bulkcancel.errors import UsageError
from bulkcancel.http.proxy import proxy_of, refusal

SERVER = "https://acme.domo.com"
PASSWORD = "s3cret-canary"
NAMES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def _shown(given: str | None = None, server: str = SERVER) -> str | None:
    proxy = proxy_of(given, server)
    return None if proxy is None else str(proxy)


def test_without_any_the_way_is_direct() -> None:
    """Nothing given, nothing in the environment."""
    assert _shown() is None


@pytest.mark.parametrize("name", NAMES)
def test_each_variable_names_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY and ALL_PROXY, in small letters and in capitals."""
    monkeypatch.setenv(name, "http://gate:3128")
    assert _shown() == "http://gate:3128"


def test_the_first_variable_that_is_not_empty_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY before ALL_PROXY, small letters before capitals; an empty one names nothing."""
    for number, name in enumerate(NAMES):
        monkeypatch.setenv(name, f"http://gate{number}:3128")
    for number, name in enumerate(NAMES):
        assert _shown() == f"http://gate{number}:3128"
        monkeypatch.setenv(name, "")
    assert _shown() is None


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ftp_proxy"])
def test_variables_of_other_schemes_name_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY is for http, and there it is not used either."""
    monkeypatch.setenv(name, "http://gate:3128")
    assert _shown() is None


def test_what_is_given_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address is used whatever NO_PROXY says, and `none` is none."""
    monkeypatch.setenv("HTTPS_PROXY", "http://gate:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    assert _shown("http://other:8080") == "http://other:8080"
    monkeypatch.delenv("NO_PROXY")
    assert _shown() == "http://gate:3128"
    assert _shown("none") is None


@pytest.mark.parametrize("server", ["http://127.0.0.1:8099", "http://localhost", "http://[::1]:9"])
def test_plain_http_has_none(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays on this machine, whatever is given."""
    for name in (*NAMES, "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://gate:3128")
    assert _shown(server=server) is None
    assert _shown("http://gate:3128", server) is None


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(
    ("listed", "host", "exempt"),
    [
        ("acme.domo.com", "acme.domo.com", True),
        ("ACME.Domo.com", "acme.domo.com", True),
        ("domo.com", "acme.domo.com", True),
        (".domo.com", "acme.domo.com", True),
        (".domo.com", "domo.com", True),
        ("acme", "acme.domo.com", False),
        ("omo.com", "acme.domo.com", False),
        ("x.acme.domo.com", "acme.domo.com", False),
        ("other.example,domo.com", "acme.domo.com", True),
        ("other.example, domo.com", "acme.domo.com", True),
        ("other.example domo.com", "acme.domo.com", True),
        (" , domo.com ,", "acme.domo.com", True),
        ("", "acme.domo.com", False),
        (",", "acme.domo.com", False),
        ("*", "acme.domo.com", True),
        (" * ", "acme.domo.com", True),
        ("*", "10.1.2.3", True),
        ("other.example,*", "acme.domo.com", False),
        ("*.domo.com", "acme.domo.com", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("1.2.3", "10.1.2.3", False),
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.2.3/16", "10.1.9.9", True),
        ("10.2.0.0/16", "10.1.2.3", False),
        ("10.1.0.0/16", "acme.domo.com", False),
        ("10.1.0.0/99", "10.1.2.3", False),
        ("::1", "[::1]", True),
        ("[::1]", "[::1]", True),
        ("0:0:0:0:0:0:0:1", "[::1]", True),
        ("fd00::/8", "[fd12::7]", True),
        ("fd00::/8", "[fe80::7]", False),
        ("10.1.0.0/16", "[fd12::7]", False),
        ("localhost", "localhost", True),
    ],
)
def test_whom_no_proxy_exempts(
    variable: str, listed: str, host: str, exempt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names with all below them, addresses, networks and `*`, as curl reads them."""
    monkeypatch.setenv("HTTPS_PROXY", "http://gate:3128")
    monkeypatch.setenv(variable, listed)
    assert (_shown(server=f"https://{host}:8443/domo") is None) == exempt


def test_no_proxy_in_small_letters_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the others, and an empty one says nothing."""
    monkeypatch.setenv("HTTPS_PROXY", "http://gate:3128")
    monkeypatch.setenv("no_proxy", "other.example")
    monkeypatch.setenv("NO_PROXY", "domo.com")
    assert _shown() is not None
    monkeypatch.setenv("no_proxy", "")
    assert _shown() is None


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://gate:3128", "http://gate:3128"),
        ("HTTP://Gate:3128/", "http://gate:3128"),
        ("gate:3128", "http://gate:3128"),
        ("gate", "http://gate:1080"),
        ("http://gate", "http://gate:1080"),
        ("http://gate:80", "http://gate:80"),
        ("https://gate", "https://gate:443"),
        ("https://gate:8443", "https://gate:8443"),
        ("10.0.0.1:3128", "http://10.0.0.1:3128"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("http://gate:3128/a/path?x=y#z", "http://gate:3128"),
        (f"someone:{PASSWORD}@gate:3128", "http://gate:3128"),
        (f"http://someone:{PASSWORD}@gate", "http://gate:1080"),
    ],
)
def test_how_an_address_may_be_written(given: str, shown: str) -> None:
    """Without a scheme it is http, without a port curl's; the login is not shown."""
    proxy = proxy_of(given, SERVER)
    assert str(proxy) == shown
    assert proxy is not None
    assert proxy.has_login == ("@" in given)
    assert (proxy.url.raw_path, proxy.url.raw_query_string) in {("", ""), ("/", "")}


def test_a_login_is_decoded() -> None:
    """An @ in it is written %40."""
    proxy = proxy_of("http://some%40one:p%40ss%3A%2Fw%C3%A9@gate:3128", SERVER)
    assert proxy is not None
    assert (proxy.url.user, proxy.url.password) == ("some@one", "p@ss:/wé")
    assert str(proxy) == "http://gate:3128"
    only_a_name = proxy_of("http://someone@gate:3128", SERVER)
    assert only_a_name is not None
    assert only_a_name.has_login


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
def test_socks_is_refused(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, and it is said what to do; what is in it is not repeated."""
    text = f"{scheme}://someone:{PASSWORD}@gate:1080"
    with pytest.raises(UsageError, match=r"^the proxy speaks SOCKS, .*http://host:port.* none$"):
        proxy_of(text, SERVER)
    monkeypatch.setenv("ALL_PROXY", text)
    with pytest.raises(UsageError, match=r"^the proxy in ALL_PROXY speaks SOCKS") as caught:
        proxy_of(None, SERVER)
    assert PASSWORD not in str(caught.value)
    assert "someone" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "http://", "://gate", "http://:3128", "ftp://gate:21", "gate:port", "gate:99999",
        f"http://someone:{PASSWORD}@", f"http://someone:{PASSWORD}@gate:x",
        f"http://some one:{PASSWORD}@gate:3128", f"http://someone:{PASSWORD}@gate:3128 ",
        f"http://someone:{PASSWORD}\r\nX: y@gate:3128", f"http://{PASSWORD}\u4e16:x@gate:3128",
        f"http://some%3Aone:{PASSWORD}@gate:3128", f"http://someone:{PASSWORD}@gate:3128\x00",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how one looks; nothing of it is repeated, as it may hold a password."""
    with pytest.raises(UsageError, match=r"^the proxy is not what a proxy's address") as caught:
        proxy_of(text, SERVER)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
    if text and "\x00" not in text:
        monkeypatch.setenv("https_proxy", text)
        with pytest.raises(UsageError, match=r"^the proxy in https_proxy is not") as caught:
            proxy_of(None, SERVER)
        assert PASSWORD not in str(caught.value)


def test_the_password_is_in_nothing_that_is_shown() -> None:
    """Neither in the proxy's text nor in its repr, the client's, or what is said of a refusal."""
    given = f"http://someone:{PASSWORD}@gate:3128"
    client = DomoClient("acme", token="x", proxy=given)
    assert client.proxy is not None
    for status in (403, 407, 502):
        for text in (str(client.proxy), repr(client), *refusal(client.proxy, status)):
            assert PASSWORD not in text
            assert "someone" not in text
    assert PASSWORD not in repr(client.proxy)
    assert PASSWORD not in f"{client.proxy}"


@pytest.mark.parametrize(
    ("given", "status", "advice"),
    [
        ("http://a:b@gate:1", 407, "it does not take the login in its address"),
        ("http://a:b@gate:1", 401, "it does not take the login in its address"),
        ("http://gate:1", 401, "check the proxy, and that it can reach the host"),
        ("http://gate:1", 407, "it wants a login: put it in its address, http://user:password@"),
        ("http://gate:1", 403, "it does not allow this host or this port"),
        ("http://gate:1", 502, "check the proxy, and that it can reach the host"),
    ],
)
def test_what_a_refusal_means(given: str, status: int, advice: str) -> None:
    """Each says what to do about it."""
    proxy = proxy_of(given, SERVER)
    assert proxy is not None
    said, what_to_do = refusal(proxy, status)
    assert said == f"the proxy http://gate:1 lets no connection through (HTTP {status})"
    assert what_to_do.startswith(advice)
