"""Everything that users can write is in the manual."""

import inspect
import re
from enum import Enum
from functools import cache

import click
import pytest

import durable
from durable import Workflow, backoff, blocking, codec, errors
from durable.api.context import GeneratorContext
from durable.api.handles import RunHandle
from durable.api.runs import Runs
from durable.api.tasks import Task
from durable.api.workflows import AsyncWorkflow, Launch, WorkflowFunction
from durable.cli.main import cli
from durable.core.records import Reason
from durable.store import RunStore
from durable.store.operations import Operation
from durable.store.sqlite.url import OPTIONS
from tests.docs.support import manual, pages


@cache
def words() -> frozenset[str]:
    return frozenset(re.findall(r"\w+", manual()))


def is_told(name: str) -> bool:
    return name in words()


def public(cls: type) -> list[str]:
    """Return the methods and properties that a class itself has for its users."""
    return [name for name in vars(cls) if not name.startswith("_") and name not in HOOKS]


HOOKS = {"in_body", "of", "codec_binds_values", "portal", "spec"}
"""Public for the other layers, not for users."""

OVERLOADED = {"task": Workflow.task, "workflow": Workflow.workflow}


def parameters(function: object) -> list[str]:
    found = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return [p.name for p in found if p.name not in ("self", "fn", "args", "kwargs", "where", "_")]


def options_of_decorator(name: str) -> list[str]:
    """Return the options that the docstring of a decorator lists: its signature takes any."""
    text = inspect.getdoc(OVERLOADED[name]) or ""
    found = re.findall(r"^    (\w+): ", text.partition("Args:")[2].partition("Raises:")[0], re.MULTILINE)
    return [option for option in found if option != "fn"]


FUNCTIONS = {
    "Workflow": Workflow.__init__,
    **{f"Workflow.{name}": getattr(Workflow, name) for name in public(Workflow) if callable(getattr(Workflow, name))},
    **{f"runs.{name}": getattr(Runs, name) for name in public(Runs)},
    **{f"handle.{name}": getattr(RunHandle, name) for name in public(RunHandle) if name != "id"},
    **{f"workflow.{name}": getattr(WorkflowFunction, name) for name in public(WorkflowFunction) if name != "name"},
    **{f"ctx.{name}": getattr(GeneratorContext, name) for name in public(GeneratorContext) if name != "id"},
    "workflow.run": AsyncWorkflow.run,
    "launch.start": Launch.start,
    "task.with_options": Task.with_options,
    **{f"backoff.{name}": getattr(backoff, name) for name in ("constant", "exponential", "linear")},
    **{
        f"durable.{name}": getattr(durable, name)
        for name in ("map", "progress", "patched", "continue_as_new", "now", "sleep")
    },
    "blocking.of": blocking.of,
    "Limits": codec.Limits,
    "Encryption": codec.Encryption,
    "KeyRing": codec.KeyRing,
}

POSITIONAL = {
    "Workflow.step": {"name", "fn"}, "Workflow.task": {"options"}, "Workflow.workflow": {"options"},
    "Limits": {"bytes_warn"},
    "blocking.of": {"target"}, "ctx.run": {"function"}, "ctx.start": {"function"}, "ctx.gather": {"waits"},
    "KeyRing": {"keys", "primary"},
}  # fmt: skip
"""Parameters that nobody writes by name."""


@pytest.mark.parametrize("name", durable.__all__)
def test_every_public_name_is_told(name):
    assert is_told(name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_and_its_parameters_are_told(name):
    last = name.rpartition(".")[2]
    wanted = [last, *(set(parameters(FUNCTIONS[name])) - POSITIONAL.get(name, set()))]
    assert [word for word in wanted if not is_told(word)] == []


@pytest.mark.parametrize("decorator", OVERLOADED)
def test_every_option_of_the_decorators_is_in_their_table(decorator):
    page = pages()["docs/tasks.md" if decorator == "task" else "docs/workflows.md"]
    options = options_of_decorator(decorator)
    assert len(options) >= 6
    assert [option for option in options if f"| `{option}` |" not in page] == []


@pytest.mark.parametrize("option", [*parameters(Workflow.__init__), *parameters(WorkflowFunction.options)])
def test_every_option_of_applications_and_starts_is_in_a_table(option):
    assert f"| `{option}` |" in pages()["docs/workflows.md"]


def exceptions() -> list[type[BaseException]]:
    return [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, BaseException)]


@pytest.mark.parametrize("error", exceptions(), ids=lambda error: error.__name__)
def test_every_exception_is_explained(error):
    assert f"`{error.__name__}`" in pages()["docs/errors.md"] or f".{error.__name__}`" in pages()["docs/errors.md"]


@pytest.mark.parametrize("error", exceptions(), ids=lambda error: error.__name__)
def test_every_exception_but_bugs_is_a_public_name(error):
    assert error.__name__ in durable.__all__ or error is errors.Bug


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_a_run_that_is_set_aside_is_explained(reason: Enum):
    for page in ("docs/errors.md", "docs/guarantees.md"):
        assert f"`{reason.value}`" in re.sub(r"\s+", " ", pages()[page])


def commands(group: click.Group, path: str = "durable") -> dict[str, click.Command]:
    context = click.Context(group)
    found: dict[str, click.Command] = {path: group}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= commands(command, f"{path} {name}")
        else:
            found[f"{path} {name}"] = command
    return found


COMMANDS = commands(cli)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_is_told(path):
    page = pages()["docs/cli.md"]
    assert path in page
    flags = [flag for option in COMMANDS[path].get_params(click.Context(COMMANDS[path])) for flag in option.opts
             if isinstance(option, click.Option)]  # fmt: skip
    assert [flag for flag in flags if not re.search(rf"{flag}(?![\w-])", page)] == []


@pytest.mark.parametrize("path", COMMANDS)
def test_every_choice_of_an_option_is_told(path):
    choices = [
        choice
        for option in COMMANDS[path].params
        if isinstance(option.type, click.Choice)
        for choice in option.type.choices
    ]
    assert [choice for choice in choices if choice not in pages()["docs/cli.md"]] == []


def test_every_method_and_operation_of_the_store_contract_is_told():
    methods = [name for name in vars(RunStore) if not name.startswith("_")]
    operations = [operation.__name__ for operation in Operation.__args__]
    assert len(methods) > 20
    assert [name for name in [*methods, *operations] if f"`{name}`" not in pages()["docs/storage.md"]] == []


def test_every_option_of_a_url_is_told():
    assert [option for option in OPTIONS if f"| `{option}` |" not in pages()["docs/storage.md"]] == []


@pytest.mark.parametrize("name", codec.__all__)
def test_the_codecs_that_users_choose_are_told(name):
    internal = {"Codec", "LiveArgument", "Registry", "Transform", "crc"}
    assert is_told(name) or name in internal


@pytest.mark.parametrize("name", [*blocking.__all__, *public(blocking.Application), *public(blocking.RunHandle)])
def test_the_blocking_forms_are_told(name):
    assert is_told(name)


def test_the_manual_says_nothing_of_names_that_are_gone():
    used = set(re.findall(r"\bdurable\.([A-Za-z_]\w*)", manual()))
    modules = {"backoff", "blocking", "codec", "errors", "store", "testing", "db"}
    files = {"md", "py"}
    assert used - set(durable.__all__) - modules - files == set()
