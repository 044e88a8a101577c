"""Does the server take clock, randomness and environment only from what it is handed?"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.meta import sources

SERVER = "server/batchyard_server/"
# Modules that must not be imported at all, and names that must not be taken from a module.
MODULES = {"time", "random", "secrets", "uuid"}
NAMES = {
    "os": {"environ", "environb", "getenv", "getenvb", "urandom", "getrandom", "uname"},
    "socket": {"gethostname", "getfqdn"},
    "platform": {"node", "uname"},
    "datetime": {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"},
}
# Who may, and what: the clock is where time and randomness come from, what reads argv also reads the environment, and
# what puts everything together knows the machine.
ALLOWED = {
    "model/clock.py": {"time", "random", "os.urandom"},
    "cli.py": {"os.environ"},
    "app.py": {"os.environ", "socket.gethostname"},
    "config.py": {"os.environ"},
}


def forbidden(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every forbidden import and attribute with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module in MODULES:
                yield node.lineno, node.module
            for alias in node.names:
                if alias.name in NAMES.get(node.module, ()):
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            for module, names in NAMES.items():
                if any(dotted in (f"{module}.{name}", name) for name in names if "." in name or dotted != name):
                    yield node.lineno, dotted


def test_a_module_asks_the_system_for_nothing_it_was_not_handed() -> None:
    wrong = [
        f"{name}:{line}: {what}"
        for name in sources.written(".py", below=SERVER)
        for line, what in forbidden(sources.module(name))
        if what not in ALLOWED.get(name.removeprefix(SERVER), ())
    ]
    assert wrong == []


def test_what_is_forbidden_is_seen() -> None:
    code = "import time, os\nfrom random import random\nos.environ\ndatetime.datetime.now()"
    found = {what for _, what in forbidden(ast.parse(code))}
    assert found == {"time", "random", "os.environ", "datetime.datetime.now"}
