"""What the bar shows: its figures, how they fit a width, and how it is wiped."""

from __future__ import annotations

import io
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bulkcancel.engine import Stats
from bulkcancel.models import Outcome
from bulkcancel.reporting.progress import Bar, Gauge, print_progress
from bulkcancel.reporting.progress.live import Live
from tests.support import virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLOURS = re.compile(r"\x1b\[([0-9;]*)m")


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _gauge(total: int | None = 244, clock: Clock | None = None, **outcomes: int) -> Gauge:
    counts = Counter({Outcome(name): n for name, n in outcomes.items()})
    stats = Stats(outcomes=counts, requests=130, retries=1, in_flight=16)
    return Gauge(stats, total, 100.0, lambda: 100.0, clock=clock or Clock())


def _drawn(gauge: Gauge, width: int, *, no_color: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=True, color_system="standard", no_color=no_color
    )
    console.print(Bar(console, gauge).render(width))
    return file.getvalue()


@pytest.mark.parametrize("width", [37, 77, 197])
def test_the_bar_fits_and_no_figure_is_broken(width: int) -> None:
    """At 40, 80 and 200 columns: lines are broken between figures, and the bar gets shorter."""
    gauge = _gauge(accepted=118, not_found=3, invalid=2)
    gauge.state = "slowed down: the server answers 429"
    lines = _COLOURS.sub("", _drawn(gauge, width)).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert lines[0].startswith("121/244 ━")
    assert lines[0].rstrip().endswith(" 49%  0.0 s so far")
    figures = [each for line in lines[1:-1] for each in line.split(" · ")]
    assert figures == [
        "118 accepted", "3 not_found", "2 invalid", "0.0/s of 100", "16 in flight", "1 retry",
    ]  # fmt: skip
    assert len(lines) == {37: 5, 77: 4, 197: 3}[width]


def test_what_is_too_narrow_for_a_bar_has_none() -> None:
    """The figures stay."""
    assert _COLOURS.sub("", _drawn(_gauge(accepted=61), 24)).startswith("61/244 25%  0.0 s so far")


def test_red_are_failures_alone_and_the_bar_is_calm() -> None:
    """Cyan on grey, of the terminal's own sixteen colours; without colours if nobody wants any."""
    calm = _drawn(_gauge(accepted=61), 77)
    assert set(_COLOURS.findall(calm)) == {"36", "90", "32", "2", "33", "0"}
    failing = _drawn(_gauge(accepted=61, failed=1), 77)
    assert "\x1b[31m1 failed\x1b[0m" in failing
    plain = _drawn(_gauge(accepted=61, failed=1), 77, no_color=True)
    assert set(_COLOURS.findall(plain)) <= {"0", "2"}
    assert 10 < plain.splitlines()[0].count("━") < 20  # what is to come cannot be told by colour


def _etas(done_at: Sequence[float], total: int) -> list[tuple[float, float | None]]:
    """The time left in truth and as shown, every quarter of a second."""
    clock = Clock()
    began = clock.now
    gauge = _gauge(total, clock)
    etas = []
    while clock.now - began < done_at[-1]:
        clock.now += 0.25
        gone = clock.now - began
        gauge.stats.outcomes[Outcome.ACCEPTED] = sum(at <= gone for at in done_at)
        etas.append((done_at[-1] - gone, gauge.eta_s()))
    return etas


def test_the_time_left_knows_the_latency() -> None:
    """10 a second with answers after 3 s: two seconds after the first one it is right."""
    etas = _etas([3 + n / 10 for n in range(300)], 300)
    assert all(shown is None for _, shown in etas[:12])
    known = [(true, shown) for true, shown in etas if shown is not None]
    assert known[0][0] >= 27.5
    assert all(abs(true - shown) < 0.5 for true, shown in known)


def test_the_time_left_is_that_of_what_is_achieved() -> None:
    """16 in flight and answers after 4 s are 4 a second, whatever the rate would allow."""
    etas = _etas([4 * n + 4 + m / 20 for n in range(15) for m in range(16)], 240)
    known = [(true, shown) for true, shown in etas if shown is not None]
    assert known[0][0] >= 50
    assert all(abs(true - shown) < 5 for true, shown in known)
    assert all(abs(a - b) < 5 for (_, a), (_, b) in pairwise(known))


def test_the_time_left_grows_while_nothing_is_answered() -> None:
    """After a minute of silence nobody promises the old speed."""
    clock = Clock()
    gauge = _gauge(1000, clock)
    for n in range(1, 101):
        clock.now += 0.1
        gauge.stats.outcomes[Outcome.ACCEPTED] = n
        before = gauge.eta_s()
    clock.now += 60
    after = gauge.eta_s()
    assert before == pytest.approx(90, abs=1)
    assert after is not None
    assert after > 400


def test_invalid_rows_are_no_part_of_what_is_done() -> None:
    """The total is what the question names: IDs that are sent."""
    gauge = _gauge(3, accepted=2, invalid=7)
    assert (gauge.done, gauge.share()) == (2, "66%")


class _Screen:
    """What a terminal shows that breaks lines anew when it gets narrower, as most do."""

    def __init__(self, drawn: str, width: int, narrower: int, at: int) -> None:
        self.lines = [""]
        self._up = 0
        self._draw(drawn[:at], width)
        self.lines = [
            line[i : i + narrower]
            for line in self.lines
            for i in range(0, len(line) or 1, narrower)
        ]
        self._draw(drawn[at:], narrower)

    def _draw(self, text: str, width: int) -> None:
        row = len(self.lines) - 1
        for code, shown in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", text):
            if shown:
                assert len(shown) + len(self.lines[row]) < width
                self.lines[row] += shown
            elif code == "\n":
                row += 1
                self.lines[row:] = self.lines[row:] or [""]
            elif code == "\x1b[2K":
                self.lines[row] = ""
            elif code == "\x1b[1A":
                row -= 1


def test_a_narrower_terminal_keeps_no_trace_of_the_bar() -> None:
    """Lines that it has broken into more are wiped, and what stood above them stays."""
    file = io.StringIO()
    console = Console(file=file, width=80, height=20, force_terminal=True, color_system=None)
    console.print("the plan")
    live = Live(console, lambda width: Text("b" * width + "\nfigures" + " x" * 30))
    console.push_render_hook(live)
    live.draw()
    at = len(file.getvalue())
    console.size = (30, 20)
    live.draw()
    console.print("a message")
    screen = _Screen(file.getvalue(), 80, 30, at)
    shown = [line for line in screen.lines if line]
    assert shown[:2] == ["the plan", "a message"]
    assert shown[2] == "b" * 27
    assert "".join(shown).count("figures") == 1


def test_a_dumb_terminal_is_told_every_five_seconds() -> None:
    """The figures of the bar in a line, and a new state at once."""
    said: list[tuple[float, str]] = []

    def say(text: str) -> None:
        said.append((anyio.current_time(), text))

    async def play() -> None:
        gauge = _gauge(accepted=118, invalid=2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(print_progress, gauge, say)
            await anyio.sleep(6)
            gauge.state = "stopping"
            await anyio.sleep(5)
            tasks.cancel_scope.cancel()

    virtual_time.run(play)
    line = "118/244 (48%) · 118 accepted · 2 invalid · 0.0/s of 100 · 16 in flight · 1 retry · "
    began = said[0][0] - 5
    assert [round(at - began) for at, _ in said] == [5, 6, 10]
    assert [text for _, text in said] == [f"{line}0.0 s so far", "stopping", f"{line}0.0 s so far"]
