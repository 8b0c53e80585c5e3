"""`MODULE:NAME` on the command line: imports the user's code and finds the object in it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from durable.api.app import Workflow
from durable.api.tasks import Task
from durable.api.workflows import WorkflowFunction
from durable.cli.exits import CommandError

T = TypeVar("T")


def load_application(target: str) -> Workflow:
    """Return the application that `MODULE:NAME` names, or the only one of `MODULE`.

    Raises:
        CommandError: the module cannot be imported, or holds no such application.
    """
    module, name = _imported(target)
    if not name:
        return _only(module, target, Workflow, "application", "APP")
    found = _attribute(module, name, target)
    if isinstance(found, Workflow):
        return found
    hint = ""
    if isinstance(found, WorkflowFunction):
        owners = [other for other, app in _all_of(module, Workflow).items() if app is found._app]
        hint = f"; its application is {_module_part(target)}:{owners[0]}" if owners else ""
    raise CommandError(f"{target!r} is {_what(found)}: expected an application, a durable.Workflow{hint}")


def load_workflow(target: str) -> WorkflowFunction[Any, Any]:
    """Return the workflow function that `MODULE:NAME` names, or the only one of `MODULE`.

    Raises:
        CommandError: the module cannot be imported, or holds no such workflow.
    """
    module, name = _imported(target)
    if not name:
        return _only(module, target, WorkflowFunction, "workflow", "WORKFLOW")
    found = _attribute(module, name, target)
    if isinstance(found, WorkflowFunction):
        return found
    raise CommandError(
        f"{target!r} is {_what(found)}: expected a workflow, a function under @wf.workflow{_have(module)}"
    )


def _what(found: object) -> str:
    match found:
        case Workflow():
            return f"the application {found.name!r}"
        case WorkflowFunction():
            return f"the workflow {found.name!r}"
        case Task():
            return f"the task {found.name!r}"
        case _ if callable(found):
            return f"a plain {type(found).__name__}"
    return f"a {type(found).__name__}"


def _have(module: ModuleType) -> str:
    names = list(_all_of(module, WorkflowFunction))
    return f"; it has {', '.join(names)}" if names else "; it has none"


def _all_of(module: ModuleType, kind: type[T]) -> dict[str, T]:
    found: dict[int, tuple[str, T]] = {}
    for name, value in vars(module).items():
        if isinstance(value, kind):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _only(module: ModuleType, target: str, kind: type[T], word: str, place: str) -> T:
    found = _all_of(module, kind)
    if len(found) == 1:
        return next(iter(found.values()))
    have = f"it has several: {', '.join(found)}" if found else f"it has no {word}"
    raise CommandError(f"{target!r} names no {word} and {have}; write {_module_part(target)}:{place}")


def _attribute(module: ModuleType, name: str, target: str) -> object:
    found: object = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CommandError(f"module {_module_part(target)!r} has no {name!r}{_have(module)}") from None
    return found


# Importing ------------------------------------------------------------------------------------------------------------


def _split(target: str) -> tuple[str, str]:
    module, colon, name = target.rpartition(":")
    # The colon of a Windows drive does not end a module.
    if not colon or not all(part.isidentifier() for part in name.split(".")):
        return target.removesuffix(":"), ""
    return module, name


def _module_part(target: str) -> str:
    return _split(target)[0]


def _imported(target: str) -> tuple[ModuleType, str]:
    place, name = _split(target)
    if not place:
        raise CommandError(
            f"{target!r} names no module: expected MODULE:NAME, such as flows.py:order or shop.flows:order"
        )
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    is_file = place.endswith(".py") or "/" in place or os.sep in place
    try:
        return _import_file(Path(place)) if is_file else _import_module(place), name
    except CommandError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # The module is the user's code: it may raise anything, SystemExit too.
        raise CommandError(f"module {place!r} cannot be imported: {_why(error)}") from error


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise CommandError(f"{name!r} is no module: expected a dotted name (shop.flows) or a file (flows.py)")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise CommandError(
            f"there is no module {error.name!r} in {os.getcwd()!r} or on Python's path; "
            "name a module (shop.flows) or a file (flows.py)"
        ) from None


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise CommandError(f"file {str(path)!r} {what}: expected a Python file")
    full, name = path.resolve(), path.stem
    loaded = sys.modules.get(name)
    if loaded is not None:
        if Path(getattr(loaded, "__file__", None) or "").resolve() == full:
            return loaded
        raise CommandError(
            f"file {str(path)!r} cannot be imported: a module named {name!r} is loaded already; rename the file"
        )
    # As for a script, its neighbours can be imported; as a module, stored values name its classes like every importer
    # does.
    sys.path.insert(0, str(full.parent))
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise CommandError(f"file {str(path)!r} is no Python file: its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _why(error: BaseException) -> str:
    """Return the error with the last line of the user's code that led to it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SystemExit):
        text += "; put what the program does under 'if __name__ == \"__main__\":'"
    package = str(Path(__file__).parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(package) and not frame.filename.startswith("<frozen")
        and f"{os.sep}importlib{os.sep}" not in frame.filename
    ]  # fmt: skip
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text
