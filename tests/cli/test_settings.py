"""Settings: flags, environment, file; and everything refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkcancel.cli.settings import RunSettings
from bulkcancel.domo.address import base_url_of
from bulkcancel.domo.client import DomoClient
from bulkcancel.errors import UsageError
from bulkcancel.models import SENT_AGAIN, Outcome
from bulkcancel.quantities import (
    MaxFailures,
    Shard,
    parse_duration,
    parse_failures,
    parse_rate,
    parse_shard,
    show_duration,
)
from tests.support.processes import CANARY, Finished, bulkcancel, environment, write_ids
from tests.support.runs import make_ids


@pytest.mark.parametrize(
    "text",
    ["acme", "ACME", "acme.domo.com", "https://acme.domo.com/", "https://acme.domo.com", " acme "],
)
def test_every_way_to_name_an_instance_means_the_same(text: str) -> None:
    """A subdomain, a host name and a pasted address are one instance."""
    assert base_url_of(text, None) == "https://acme.domo.com"


@pytest.mark.parametrize(
    "text",
    [
        "evil.com#", "acme.domo.com.evil.com", "a b", "user:pass@acme", "", "acme/", "acme/x?y",
        "http://acme.domo.com", "-acme", "acme.", "..", "evil.com/.domo.com", "acme\n", "àcme",
        "a" * 64,
    ],
)  # fmt: skip
def test_what_is_no_instance_name_is_refused(text: str) -> None:
    """The token goes to the named host only, so nothing doubtful is taken for a name."""
    if text in {"acme/", "acme\n"}:
        assert base_url_of(text, None) == "https://acme.domo.com"
        return
    with pytest.raises(UsageError):
        base_url_of(text, None)


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://gateway.example:8443/domo/", "https://gateway.example:8443/domo"),
        ("http://127.0.0.1:8099", "http://127.0.0.1:8099"),
        ("http://localhost:8099/", "http://localhost:8099"),
        ("http://[::1]:8099", "http://[::1]:8099"),
    ],
)
def test_a_base_url_may_name_a_gateway_or_loopback(text: str, base: str) -> None:
    """https to anywhere, http to this machine alone."""
    assert base_url_of(None, text) == base


@pytest.mark.parametrize(
    "text",
    [
        "http://acme.domo.com", "http://127.0.0.1.evil.com", "ftp://127.0.0.1", "127.0.0.1:80",
        "https://user:pass@host", "https://host?x", "https://host#x", "https://ho st",
        "https://", "https://host:99999", "http://0x7f000001@evil", "https://hóst",
        "http://localhost.evil.com", "https://-x.com", "https://a..b",
    ],
)  # fmt: skip
def test_a_doubtful_base_url_is_refused(text: str) -> None:
    """No user, query, fragment or clear text beyond loopback."""
    with pytest.raises(UsageError):
        base_url_of(None, text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30), ("30s", 30), ("5m", 300), ("2h", 7200), ("50ms", 0.05), ("1h30m", 5400),
        ("1m30s", 90), ("1h5s", 3605), ("1s500ms", 1.5), ("1.5h", 5400), ("0.5", 0.5), ("0", 0),
    ],
)  # fmt: skip
def test_durations_read_as_people_write_them(text: str, seconds: float) -> None:
    """A number alone is seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "5 m", "-1", "1e3", "nan", "５", "1d", "h", "30m1h", "1h1h", "1h30", "1h 30m",
        "1h-5m", "1hm", "1s1m", "1ms1s", "h30m", ".5h", "1H30M", "1h30m5", "m", "1h,30m",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_rates_and_failures() -> None:
    """A rate is a number, a number a minute or `auto`; failures are a count or a share."""
    assert parse_rate("10") == 10
    assert parse_rate("600/m") == 10
    assert parse_rate("0.5") == 0.5
    assert parse_rate("auto") is None
    assert parse_failures("50") == MaxFailures(count=50)
    assert parse_failures("5%") == MaxFailures(share=0.05)
    for bad in ("0", "-1", "x", "10/d", "1e9"):
        with pytest.raises(ValueError, match="rate"):
            parse_rate(bad)
    assert parse_failures("100%") == MaxFailures(share=1)
    for bad in ("0", "0%", "101%", "100.1%", "-5%", "5 %", "5%%", "%", "5.0", "x", "５", ""):
        with pytest.raises(ValueError, match="failures"):
            parse_failures(bad)


@pytest.mark.parametrize(
    ("share", "total", "count"),
    [
        (0.05, 30, 2), (0.05, 20, 1), (0.05, 21, 2), (0.05, 1, 1), (0.05, 0, 1), (1, 30, 30),
        (0.07, 100, 7), (0.29, 100, 29), (0.001, 3214, 4),
    ],
)  # fmt: skip
def test_a_share_is_rounded_up(share: float, total: int, count: int) -> None:
    """At least one; 7 % of 100 is 7, whatever floating-point numbers say."""
    assert MaxFailures(share=share).of(total) == MaxFailures(count=count)


def test_a_share_of_a_pipe_stays_a_share_and_a_count_stays_a_count() -> None:
    """How many are listed is not known before a pipe's end; a count needs no total."""
    assert MaxFailures(share=0.05).of(None) == MaxFailures(share=0.05)
    assert MaxFailures(count=50).of(None) == MaxFailures(count=50).of(10) == MaxFailures(count=50)
    assert MaxFailures().of(10) == MaxFailures()


def test_a_shard_is_one_of_so_many() -> None:
    """Counted from 0, shown as it is typed; what is refused says what to give instead."""
    assert parse_shard(" 3/8 ") == Shard(3, 8)
    assert str(parse_shard("03/8")) == "3/8"
    assert parse_shard("0/1") == Shard(0, 1)
    assert parse_shard("9999/10000") == Shard(9999, 10_000)
    for bad, said in (
        ("8/8", "the last of 8 is 7/8"), ("0/0", "from 1 to 10,000"),
        ("0/10001", "from 1 to 10,000"), ("3", "such as 3/8"), ("", "such as 3/8"),
        ("-1/8", "such as 3/8"), ("1/8/9", "such as 3/8"), ("３/8", "such as 3/8"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            parse_shard(bad)


def test_settings_hold_what_their_text_says() -> None:
    """Seconds, rates, failures and outcomes: nobody else parses them, defaults included."""
    assert _values(RunSettings()) == (10.0, 30.0, 600.0, None, 10.0, MaxFailures())
    given = RunSettings.model_validate(
        {
            "rate": "auto", "timeout": "1m", "max_outage": "2h", "deadline": "1h30m",
            "grace": "0", "max_failures": "5%", "ok": "not_found", "again": "failed,forbidden",
            "resume": True,
        }
    )  # fmt: skip
    assert _values(given) == (None, 60.0, 7200.0, 5400.0, 0.0, MaxFailures(share=0.05))
    assert given.ok == {Outcome.NOT_FOUND}
    assert given.again == {Outcome.FAILED, Outcome.FORBIDDEN}
    assert RunSettings.model_validate({"shard": "3/8"}).shard == Shard(3, 8)
    assert RunSettings().shard is None
    assert RunSettings().ok == frozenset()
    assert RunSettings().again == SENT_AGAIN


def _values(settings: RunSettings) -> tuple[object, ...]:
    return (
        settings.rate, settings.timeout, settings.max_outage, settings.deadline, settings.grace,
        settings.max_failures,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12, "12 s"), (59.7, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_shown(seconds: float, text: str) -> None:
    """Two units at most."""
    assert show_duration(seconds) == text


def _run(tmp_path: Path, *arguments: str, **env: str) -> Finished:
    write_ids(tmp_path / "ids.txt", make_ids(3))
    return bulkcancel(
        "run", "ids.txt", "--dry-run", *arguments, cwd=tmp_path,
        env=environment(HOME=str(tmp_path), **env),
    )  # fmt: skip


def test_flag_beats_environment_beats_file(tmp_path: Path) -> None:
    """The settings file is the user's own; each source yields to the one above it."""
    config = tmp_path / ".config" / "bulkcancel" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('rate = 3\ninstance = "filed"\nconcurrency = 5\n')

    def planned(*arguments: str, **env: str) -> dict[str, object]:
        (event,) = _run(tmp_path, *arguments, **env).events("run.planned")
        return event

    assert planned()["rate_per_s"] == 3
    assert planned()["host"] == "filed.domo.com"
    assert planned(BULKCANCEL_RATE="4")["rate_per_s"] == 4
    assert planned("--rate", "5", BULKCANCEL_RATE="4")["rate_per_s"] == 5
    assert planned("--rate", "5", BULKCANCEL_RATE="4")["concurrency"] == 5
    assert planned(DOMO_INSTANCE="named")["host"] == "named.domo.com"
    assert planned("--base-url", "https://gw.example", DOMO_INSTANCE="named")["host"] == (
        "gw.example"
    )
    assert planned("--instance", "acme", BULKCANCEL_BASE_URL="https://gw.example")["host"] == (
        "acme.domo.com"
    )


def test_no_settings_are_taken_from_the_current_directory(tmp_path: Path) -> None:
    """A file somebody left there could send the token elsewhere."""
    for name in ("config.toml", "bulkcancel.toml", ".env"):
        (tmp_path / name).write_text('base_url = "https://evil.example"\n')
    done = _run(tmp_path, "--instance", "acme")
    (planned,) = done.events("run.planned")
    assert planned["host"] == "acme.domo.com"


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (("--concurency", "3"), {}, "--concurency"),
        (("--concurrency", "0"), {}, "--concurrency"),
        (("--concurrency", "many"), {}, "--concurrency"),
        (("--rate", "fast"), {}, "--rate"),
        (("--timeout", "0"), {}, "--timeout"),
        (("--format", "xml"), {}, "--format"),
        (("--where", "status"), {}, "status"),
        ((), {"BULKCANCEL_SHARD": "8/8"}, "7/8"),
        (("--resume", "--overwrite"), {}, "--resume"),
        (("--encoding", "klingon"), {}, "klingon"),
        (("-o", "results.xls"), {}, ".csv"),
        ((), {"BULKCANCEL_DRYRUN": "1"}, "dry_run"),
        ((), {"BULKCANCEL_RATE": "x"}, "rate"),
        (("--config", "none.toml"), {}, "none.toml"),
        (("--config", "ids.txt"), {}, "TOML"),
        (("--instance", "a b"), {}, "a b"),
        (("--base-url", "http://acme.domo.com"), {}, "https"),
        (("more.csv",), {}, "more.csv"),
    ],
)
def test_mistakes_are_sentences_and_exit_2(
    tmp_path: Path, arguments: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    """The message names what is wrong; no traceback, no frames of the libraries beneath."""
    if "-o" in arguments:
        env = {**env, "BULKCANCEL_DRY_RUN": "false"}
    if "--instance" not in arguments and "--base-url" not in arguments:
        arguments = (*arguments, "--sandbox")
    write_ids(tmp_path / "ids.txt", make_ids(3))
    dry = () if "-o" in arguments else ("--dry-run",)
    done = bulkcancel("run", "ids.txt", *dry, *arguments, cwd=tmp_path, env=environment(**env))
    assert done.code == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "pydantic" not in done.stderr
    assert not (tmp_path / "results.csv").exists()


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        (f"{CANARY}\nmore", "line break"),
        (f"{CANARY} more", "space"),
        (f"{CANARY}é", "ASCII"),
    ],
)
def test_a_token_that_cannot_be_one_is_refused_and_not_repeated(
    tmp_path: Path, token: str, said: str
) -> None:
    """The reason is given, the token never."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(3))
    done = bulkcancel(
        "run", ids, "--instance", "acme", cwd=tmp_path,
        env=environment(DOMO_DEVELOPER_TOKEN=token),
    )  # fmt: skip
    assert done.code == 2
    assert said in done.stderr
    assert not (tmp_path / "results.csv").exists()


def test_no_token_at_all_says_where_to_get_one(tmp_path: Path) -> None:
    """Without a terminal nobody can be asked."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(3))
    env = environment()
    del env["DOMO_DEVELOPER_TOKEN"]
    done = bulkcancel("run", ids, "--instance", "acme", cwd=tmp_path, env=env)
    assert done.code == 2
    assert "DOMO_DEVELOPER_TOKEN" in done.stderr
    env["DOMO_ACCESS_TOKEN"] = CANARY
    done = bulkcancel("run", ids, "--base-url", "http://127.0.0.1:1", cwd=tmp_path, env=env)
    assert done.code == 4  # the token was found; nobody listens there


def test_the_library_refuses_what_the_command_line_refuses() -> None:
    """The same checks stand at the library's door."""
    with pytest.raises(UsageError):
        DomoClient(instance="evil.com#", token="x")
    with pytest.raises(UsageError):
        DomoClient(token="x")
    with pytest.raises(UsageError):
        DomoClient(instance="acme", token="x", timeout_s=0)
