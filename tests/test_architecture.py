"""The house: imports between packages run one way, through faces; the README maps every room."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bulkcancel"
README = PACKAGE / "README.md"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

MAY_IMPORT: dict[str, set[str]] = {
    "pacing": set(),
    "http": set(),
    "domo": {"http"},
    "inputs": set(),
    "results": set(),
    "sandbox": set(),
    "engine": {"pacing", "domo"},
    "reporting": {"results", "engine"},
    "analysis": {"results"},
    "cli": {"analysis", "pacing", "domo", "inputs", "results", "sandbox", "engine", "reporting"},
}
"""Every package may import the root's modules as well, which import none."""

FACE_OF_THE_LIBRARY = {"engine", "domo", "results", "sandbox"}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _package(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else ""


@cache
def _imports(path: Path, *, types: bool = True) -> frozenset[str]:
    """What a module imports of ours, without `bulkcancel.`; `types`: also for the checker alone."""
    tree = ast.parse(path.read_text())
    if not types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = [ast.Pass()]
    text = ast.unparse(tree)
    named = re.findall(r"^\s*from bulkcancel\.([\w.]+) import", text, re.MULTILINE)
    strings = re.findall(r"""import_module\('bulkcancel\.([\w.]+)'\)""", text)
    return frozenset({*named, *strings})


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_run_one_way(path: Path) -> None:
    """No package imports one that it may not, for types alone neither."""
    here = _package(path)
    others = {name.split(".")[0] for name in _imports(path)} & set(MAY_IMPORT) - {here}
    if path == PACKAGE / "__main__.py":
        assert others == {"cli"}
    elif path == PACKAGE / "__init__.py":
        assert others <= FACE_OF_THE_LIBRARY
    else:
        assert others <= (MAY_IMPORT[here] if here else set())


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_packages_are_used_through_their_faces(path: Path) -> None:
    """What stands in no `__init__` is a package's own business."""
    here = _package(path)
    for name in _imports(path):
        package, _, module = name.partition(".")
        if (_name(path), name) == ("__main__", "cli.app"):  # loaded once signals are held
            continue
        if package in MAY_IMPORT and package != here:
            assert not module, f"{_name(path)} reaches into {name}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_imports_itself_in_a_circle(path: Path) -> None:
    """Whatever order modules are loaded in, each finds what it needs."""
    reached, found = set[str](), _imports(path, types=False)
    while found:
        reached |= found
        found = frozenset().union(*(_imports(_path(name), types=False) for name in found)) - reached
    assert _name(path).removesuffix(".__init__") not in reached


def _path(name: str) -> Path:
    module = PACKAGE.joinpath(*name.split("."))
    return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_stand_at_the_top(path: Path) -> None:
    """What a module needs is seen in one place."""
    functions = ast.FunctionDef, ast.AsyncFunctionDef
    for function in [x for x in ast.walk(ast.parse(path.read_text())) if isinstance(x, functions)]:
        inside = [x for x in ast.walk(function) if isinstance(x, ast.Import | ast.ImportFrom)]
        assert not inside, f"{_name(path)}:{inside[0].lineno}"


def test_only_http_and_the_sandbox_know_aiohttp() -> None:
    """What goes wrong with HTTP is translated once, at the edge."""
    users = {
        _package(path)
        for path in MODULES
        if re.search(r"^\s*(import|from) aiohttp\b", path.read_text(), re.MULTILINE)
    }
    assert users == {"http", "sandbox"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_the_readme_maps_every_module_in_one_line(path: Path) -> None:
    """The map says for each module what it is for."""
    if path.stem.startswith("__"):
        return
    lines = [x for x in README.read_text().splitlines() if x.startswith(f"| `{_shown(path)}` |")]
    assert len(lines) == 1, _shown(path)
    assert len(lines[0]) > 20


def _shown(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def test_every_package_has_its_tests() -> None:
    """Tests mirror the packages."""
    folders = {path.parent.name for path in Path(__file__).parent.rglob("test_*.py")}
    assert folders >= set(MAY_IMPORT)
    assert folders <= {*MAY_IMPORT, "end_to_end", "simulation", "support", "tests"}


def test_the_house_is_easy_to_draw() -> None:
    """Few rooms, and few things in each."""
    assert 6 <= len(MAY_IMPORT) <= 10
    assert {_package(path) for path in MODULES} == {"", *MAY_IMPORT}
    for folder in {path.parent for path in MODULES} - {PACKAGE}:
        assert len(list(folder.glob("*.py"))) <= 11, folder
    assert len(list(PACKAGE.glob("*.py"))) <= 8


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_is_longer_than_three_hundred_lines(path: Path) -> None:
    """At three hundred lines there is a second job inside."""
    assert len(path.read_text().splitlines()) <= 300
