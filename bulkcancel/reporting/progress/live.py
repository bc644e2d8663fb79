"""A few lines at the bottom of a terminal, drawn over and over, whatever size it gets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import ConsoleRenderable, RenderHook
from rich.control import Control
from rich.segment import ControlType, Segment, Segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from rich.console import Console

_EVERY_S = 0.25
_SPARE = 3
"""Columns left free: a terminal echoes ^C there, and a full line may wrap."""


class Live(RenderHook):
    """Draws what `render` returns for a width; what is printed meanwhile stands above it.

    A terminal that gets narrower breaks lines that are drawn into more: as many are wiped as they
    take by then.
    """

    def __init__(self, console: Console, render: Callable[[int], ConsoleRenderable]) -> None:
        self._console = console
        self._render = render
        self._widths: list[int] = []
        """Of the lines that stand on the terminal."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw_on, daemon=True)

    def __enter__(self) -> Self:
        self._console.show_cursor(show=False)
        self._console.push_render_hook(self)
        self.draw()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.draw()
        with self._console:
            self._console.pop_render_hook()
            self._console.control(self._wipe())
            self._console.show_cursor(show=True)

    def draw(self) -> None:
        """Draw it anew."""
        self._console.print(Control())  # the hook below does it

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return what is printed, after the lines are wiped and before they are drawn again."""
        wipe = self._wipe()
        return [wipe, *renderables, self._lines()]

    def _draw_on(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self.draw()

    def _lines(self) -> Segments:
        width = max(1, self._console.width - _SPARE)
        options = self._console.options.update(width=width)
        lines = self._console.render_lines(self._render(width), options, pad=False)
        self._widths = [cell_len("".join(each.text for each in line)) for line in lines]
        segments: list[Segment] = []
        for line in lines:
            segments += [Segment.line(), *line] if segments else line
        return Segments(segments)

    def _wipe(self) -> Control:
        width = max(1, self._console.width)
        taken = sum(max(1, -(-each // width)) for each in self._widths)
        self._widths = []
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
        return Control(
            ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up * max(0, taken - 1)
        )
