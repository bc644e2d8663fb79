"""Plays worlds by their seeds and says which invariants were broken.

    python -m tests.simulation --seeds 1-1000     # a line for each violation, with its world
    python -m tests.simulation --seeds 4711 -v    # one world again, with all that happened

Exit code 1 if there was a violation.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter

from tests.simulation.draw import draw
from tests.simulation.invariants import violations
from tests.simulation.play import play
from tests.simulation.story import Story

_CHUNK = 20
_PROGRESS_S = 10.0


def seeds_of(text: str) -> range:
    """Return the seeds that `4711` or `1-1000` means."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def found_in(seed: int) -> tuple[int, list[str]]:
    """Return a seed and what is wrong with its world."""
    try:
        return seed, violations(play(draw(seed)))
    except Exception:  # noqa: BLE001 - told with its seed
        return seed, [f"0 crash: {traceback.format_exc()}"]


def _rarely_collect() -> None:
    """Looking for garbage after each few objects takes a fifth of the time."""
    gc.freeze()
    gc.set_threshold(200_000)


def show(story: Story) -> None:
    """Print all that happened in a world."""
    for at_s, text in story.events:
        print(f"{at_s:10.3f}  {text}")


def main() -> int:
    """Play what is asked for; return the exit code."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=seeds_of, default=range(1, 1001), help="one, or FROM-TO")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what happened")
    given = parser.parse_args()
    if given.verbose:
        wrong: list[str] = []
        for seed in given.seeds:
            print(draw(seed))
            story = play(draw(seed))
            show(story)
            wrong += (found := violations(story))
            print("\n".join(found) or "no violation")
        return 1 if wrong else 0
    began = told_at = time.monotonic()
    kinds: Counter[str] = Counter()
    failed = 0
    with multiprocessing.Pool(given.jobs, _rarely_collect) as pool:
        for done, (seed, wrong) in enumerate(
            pool.imap_unordered(found_in, given.seeds, chunksize=_CHUNK), 1
        ):
            if wrong:
                failed += 1
                kinds.update({text.partition(":")[0] for text in wrong})
                print(f"seed {seed}: {draw(seed)}", *wrong, sep="\n    ")
            if time.monotonic() - told_at > _PROGRESS_S:
                told_at = time.monotonic()
                per_s = done / (told_at - began)
                print(f"{done:,} worlds, {per_s:.0f} a second, {failed} failed", file=sys.stderr)
    seconds = time.monotonic() - began
    count = len(given.seeds)
    print(f"{count:,} worlds in {seconds:.0f} s, {count / seconds:.0f} a second: {failed} failed")
    for kind, number in kinds.most_common():
        print(f"{number:6}  {kind}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
