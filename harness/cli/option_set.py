"""A command's arguments and options as one dataclass: each is declared once, and the command takes one typed object."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

Given = TypeVar("Given")


def takes(options: type[Given]) -> Callable[[Callable[[Given], None]], Callable[..., None]]:
    """Turn a function of an options object into a command with the options' fields as its parameters.

    Parameters
    ----------
    options: a keyword-only dataclass. A field's annotation is what typer reads (``Annotated[str, typer.Option(...)]``,
        or one of `harness.cli.options`), and its default is the option's.
    """
    hints = get_type_hints(options, include_extras=True)
    parameters = [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
            annotation=hints[one.name],
        )
        for one in fields(options)  # type: ignore[arg-type]
    ]

    def decorate(command: Callable[[Given], None]) -> Callable[..., None]:
        def entry(**given: Any) -> None:
            command(options(**given))

        entry.__name__, entry.__doc__ = command.__name__, command.__doc__
        entry.__module__, entry.__qualname__ = command.__module__, command.__qualname__
        entry.__annotations__ = {one.name: one.annotation for one in parameters}
        entry.__dict__["__signature__"] = inspect.Signature(parameters)  # where inspect.signature looks first
        return entry

    return decorate
