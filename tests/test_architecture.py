"""The floors of the code: imports run one way, and the map in its README names every room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bulkcancel"
README = PACKAGE / "README.md"

FLOORS = [
    "models errors crash text instance_id version atomic",
    "faults reply quantities target protocols",
    (
        "watchdog connection client verdict retry_after backoff breaker pacer noise adaptive "
        "columns encodings decode layout tables json_keys jsonlines formats checked source stdin "
        "rows lock resume ledger "
        "sandbox_options sandbox_rules sandbox_api sandbox"
    ),
    "stop stats guard entry undecided canceller pipeline collector engine",
    (
        "settings settings_sources token signals system terminal logs observer plan progress "
        "summary display files inputs finish accounts mistakes api __init__"
    ),
    "run_command sandbox_command cli __main__",
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}


_BY_NAME = re.compile(r"""import_module\('bulkcancel\.(\w+)'\)|'bulkcancel\.(\w+):\w+'""")


def _imports(path: Path) -> set[str]:
    """Names of the package's modules that a module imports when it runs, by name or as a string."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    text = ast.unparse(tree)  # without what only the type checker sees
    named = re.findall(r"^\s*from bulkcancel\.(\w+) import", text, re.MULTILINE)
    strings = [one or other for one, other in _BY_NAME.findall(text)]
    return {*named, *strings}


def test_every_module_has_a_floor() -> None:
    """A new module is placed on purpose."""
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(FLOOR_OF)


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_run_one_way(path: Path) -> None:
    """No module imports from a floor above its own, and none in a circle."""
    for name in _imports(path):
        assert FLOOR_OF[name] <= FLOOR_OF[path.stem], f"{path.stem} imports {name}"
    reached, found = set[str](), _imports(path)
    while found:
        reached |= found
        found = set().union(*(_imports(PACKAGE / f"{name}.py") for name in found)) - reached
    assert path.stem not in reached


def test_only_the_client_and_the_sandbox_know_aiohttp() -> None:
    """What goes wrong with HTTP is translated once, at the edge."""
    users = {
        path.stem
        for path in PACKAGE.glob("*.py")
        if re.search(r"^(import|from) aiohttp\b", path.read_text(), re.MULTILINE)
    }
    assert users == {"connection", "client", "sandbox"}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_the_readme_maps_every_module_in_one_line(path: Path) -> None:
    """The map says for each module what it is for."""
    if path.stem.startswith("__"):
        return
    lines = [x for x in README.read_text().splitlines() if x.startswith(f"| `{path.stem}` |")]
    assert len(lines) == 1, path.stem
    assert len(lines[0]) > 20


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_no_module_is_longer_than_three_hundred_lines(path: Path) -> None:
    """At three hundred lines there is a second job inside."""
    assert len(path.read_text().splitlines()) <= 300
