"""Arguments and options as dataclasses: each is declared once, and a command takes typed objects."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command in which each parameter that is annotated with a dataclass is replaced by the class's fields.

    A field's annotation is what typer reads (``Annotated[str, typer.Option(...)]``, or one of `harness.cli.options`),
    and its default is the option's. The dataclass is keyword-only.
    """
    hints = get_type_hints(command, include_extras=True)
    sets: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(command).parameters.values():
        if one.name in sets:
            parameters += _fields(sets[one.name])
        else:
            parameters.append(one.replace(annotation=hints[one.name]))

    def entry(**given: Any) -> None:
        for name, options in sets.items():
            given[name] = options(**{field.name: given.pop(field.name) for field in fields(options)})
        command(**given)

    entry.__name__, entry.__doc__ = command.__name__, command.__doc__
    entry.__module__, entry.__qualname__ = command.__module__, command.__qualname__
    entry.__annotations__ = {one.name: one.annotation for one in parameters}
    ordered = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    entry.__dict__["__signature__"] = inspect.Signature(ordered)  # where inspect.signature looks first
    return entry


def _fields(options: Any) -> Iterator[inspect.Parameter]:
    """Yield a parameter for each field of a dataclass."""
    hints = get_type_hints(options, include_extras=True)
    for one in fields(options):
        default = inspect.Parameter.empty if one.default is MISSING else one.default
        yield inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[one.name])
