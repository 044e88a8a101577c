"""Is what a module offers written down? Its order is held by ruff (RUF022)."""

from __future__ import annotations

import ast
import tomllib

import pytest

from tests.meta import sources


def exported(name: str) -> list[str] | None:
    """The names of `__all__`, None if the module has none."""
    for node in sources.module(name).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            return list(ast.literal_eval(node.value))
    return None


def test_all_names_each_name_once() -> None:
    modules = {name: names for name in sources.written(".py") if (names := exported(name)) is not None}
    assert [name for name, names in modules.items() if len(names) != len(set(names))] == []


def test_the_order_of_all_is_judged() -> None:
    rules: dict[str, list[str]] = tomllib.loads(sources.text("pyproject.toml"))["tool"]["ruff"]["lint"]
    assert "RUF" in rules["select"]
    assert "RUF022" not in rules["ignore"]


@pytest.mark.parametrize("package", ["client/python/batchyard", "server/batchyard_worker"])
def test_a_package_that_users_import_says_what_it_offers(package: str) -> None:
    assert exported(f"{package}/__init__.py")
