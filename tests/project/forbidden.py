"""Finds what the shipped package may not do, because a value from a store or from outside could run code or SQL.

The rules work on the syntax tree. Each is a function of one kind of node and returns what is wrong with it, or nothing.
"""

import ast
import re
from collections.abc import Callable, Iterator

UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"}
CODE_RUNNERS = {"eval", "exec"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
UNSAFE_YAML = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load"}
IMPORTERS = {
    "__import__",
    "import_module",
    "importlib.import_module",
    "resolve_name",
    "pkgutil.resolve_name",
    "run_module",
}
EXECUTES = {"execute", "executemany", "executescript"}

# Lower-case `select` also begins English sentences. PRAGMA is left out: it takes no parameters, its values are ours.
SQL = re.compile(
    r"\s*((?-i:SELECT\s)|SELECT\s.*\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|REPLACE\s+INTO\s|UPDATE\s+\S+\s+SET\s"
    r"|DELETE\s+FROM\s|WITH\s+(RECURSIVE\s+)?\w+(\s*\(.*\))?\s+AS\s|CREATE\s+(TABLE|INDEX|UNIQUE|VIEW|TRIGGER)\s"
    r"|ALTER\s+TABLE\s|DROP\s+(TABLE|INDEX|VIEW|TRIGGER)\s|ATTACH\s)",
    re.IGNORECASE,
)
PRAGMA = re.compile(r"\s*PRAGMA\s", re.IGNORECASE)


def violations(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the reason of everything that is forbidden."""
    for node in ast.walk(ast.parse(source)):
        for rule in RULES.get(type(node), ()):
            if reason := rule(node):
                yield getattr(node, "lineno", 0), reason


def dotted(node: ast.expr) -> str:
    """Return the name of what is called: `os.system`, or only the last part when the rest is no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else node.attr
    return ""


def unsafe_import(node: ast.Import) -> str | None:
    names = {alias.name.partition(".")[0] for alias in node.names} & UNSAFE_MODULES
    return f"imports {sorted(names)}" if names else None


def unsafe_import_from(node: ast.ImportFrom) -> str | None:
    module = (node.module or "").partition(".")[0]
    if node.level == 0 and module in UNSAFE_MODULES:
        return f"imports from {module}"
    names = {f"{module}.{alias.name}" for alias in node.names} & (SHELLS | UNSAFE_YAML)
    return f"imports {sorted(names)}" if names and node.level == 0 else None


def runs_code(node: ast.Call) -> str | None:
    name = dotted(node.func)
    return f"calls {name}" if name.removeprefix("builtins.") in CODE_RUNNERS else None


def runs_a_shell(node: ast.Call) -> str | None:
    if dotted(node.func) in SHELLS:
        return f"calls {dotted(node.func)}"
    for keyword in node.keywords:
        off = isinstance(keyword.value, ast.Constant) and not keyword.value.value
        if keyword.arg == "shell" and not off:
            return "starts a shell"
    return None


def loads_yaml(node: ast.Call) -> str | None:
    return f"calls {dotted(node.func)}" if dotted(node.func) in UNSAFE_YAML else None


def imports_by_name(node: ast.Call) -> str | None:
    called = dotted(node.func)
    constant = bool(node.args) and isinstance(node.args[0], ast.Constant)
    return f"calls {called} with a name that is not written there" if called in IMPORTERS and not constant else None


def executes_built_sql(node: ast.Call) -> str | None:
    last = dotted(node.func).rpartition(".")[2]
    if last in EXECUTES and node.args and is_built(node.args[0]) and not PRAGMA.match(first_text(node.args[0])):
        return f"passes a built string to {last}"
    return None


def builds_sql(node: ast.expr) -> str | None:
    return "builds SQL from pieces" if is_built(node) and SQL.match(first_text(node)) else None


def is_built(node: ast.expr) -> bool:
    """Is this a string made at run time from more than literals?"""
    match node:
        case ast.JoinedStr():
            return any(isinstance(part, ast.FormattedValue) for part in node.values)
        case ast.BinOp(op=ast.Mod() | ast.Add()):
            return bool(first_text(node)) and not (is_literal(node.left) and is_literal(node.right))
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="format")):
            return True
    return False


def is_literal(node: ast.expr) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.BinOp():
            return is_literal(node.left) and is_literal(node.right)
    return False


def first_text(node: ast.expr) -> str:
    """Return the literal text that a string starts with."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[first, *_]):
            return first_text(first)
        case ast.BinOp():
            return first_text(node.left)
        case ast.Call(func=ast.Attribute(value=value, attr="format")):
            return first_text(value)
    return ""


RULES: dict[type[ast.AST], tuple[Callable[..., str | None], ...]] = {
    ast.Import: (unsafe_import,),
    ast.ImportFrom: (unsafe_import_from,),
    ast.Call: (runs_code, runs_a_shell, loads_yaml, imports_by_name, executes_built_sql, builds_sql),
    ast.JoinedStr: (builds_sql,),
    ast.BinOp: (builds_sql,),
}
