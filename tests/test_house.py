"""The rules of the house that import-linter has no words for. Its contracts stand in pyproject.toml."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOOP_NEUTRAL = ("core", "graph", "operators", "engine")
PUBLIC = ("reactor", "reactor.contracts", "reactor.eventstore", "reactor.testing")
# Connectors are loaded one by one, by the scheme of a URL: their modules are the contract.
OPEN_FOLDERS = ("connectors",)


def sources(*folder: str) -> list[Path]:
    return sorted(ROOT.joinpath(*folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """(line, module, name) of each import, relative ones made absolute; name is None for a plain import."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, module, alias.name


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_nothing_inside_imports_the_root() -> None:
    faults = [
        where(path, line)
        for path in sources("reactor")
        for line, module, name in imports(path)
        if module == "reactor" and not (name and is_module(f"reactor.{name}"))
    ]
    assert not faults, f"import the module that defines it, not the root `reactor`: {faults}"


def test_the_core_knows_no_event_loop() -> None:
    faults = [
        where(path, line)
        for folder in LOOP_NEUTRAL
        for path in sources("reactor", folder)
        for line, module, _ in imports(path)
        if module.partition(".")[0] in ("asyncio", "trio")
    ]
    assert not faults, f"use anyio, the engine runs on asyncio and on trio: {faults}"


def test_others_import_a_folder_not_its_files() -> None:
    faults = []
    for path in sources("reactor"):
        own = path.relative_to(ROOT).parts[1]
        for line, module, _ in imports(path):
            parts = module.split(".")
            if len(parts) > 2 and parts[0] == "reactor" and parts[1] != own and parts[1] not in OPEN_FOLDERS:
                if not ROOT.joinpath(*parts).is_dir():
                    faults.append(f"{where(path, line)} {module}")
    assert not faults, f"a folder's __init__ is its contract, import from there: {faults}"


def test_pipelines_use_only_public_names() -> None:
    faults = []
    for path in sources("pipelines"):
        for line, module, name in imports(path):
            if module.partition(".")[0] != "reactor":
                continue
            known = importlib.import_module(module).__all__ if module in PUBLIC else ()
            # `from reactor import testing` names a public module, `from reactor import engine` doesn't
            if module not in PUBLIC or not (name is None or name in known or f"{module}.{name}" in PUBLIC):
                faults.append(f"{where(path, line)} {module} {name or ''}".rstrip())
    assert not faults, f"only names in __all__ of {' and '.join(PUBLIC)}: {faults}"


def packages() -> list[str]:
    found = (path.parent.relative_to(ROOT).parts for path in sources("reactor") if path.name == "__init__.py")
    return [".".join(parts) for parts in found]


@pytest.mark.parametrize("package", packages())
def test_all_names_exist(package: str) -> None:
    module = importlib.import_module(package)
    names = list(getattr(module, "__all__", ()))
    assert len(names) == len(set(names)), "a name stands twice in __all__"
    missing = [name for name in names if not hasattr(module, name)]
    assert not missing, f"{package}.__all__ names what isn't there: {missing}"
