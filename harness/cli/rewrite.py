"""``rewrite``: fuse and lower the norms of a finished package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.option_set import expanded
from harness.cli.table_options import TableOptions
from harness.system.text import squeezed


@expanded
def rewrite(
    source: Annotated[Path, typer.Argument(metavar="IN.mlpackage", help="The package to read; it is not changed.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT.mlpackage", help="The package to write; nothing may be there.")
    ],
    *,
    lowering: Annotated[
        str | None,
        typer.Option(help="Strategy; norms that stand lowered in another form change as well. Default: layer_norm."),
    ] = None,
    axes: Annotated[str, typer.Option(help="last, or any: trailing axes and single inner ones, too.")] = "last",
    rescale: Annotated[
        float | None, typer.Option(help="Scale the residual stream by this power of two, for example 0.125.")
    ] = None,
    function: Annotated[str | None, typer.Option(help="The one function to rewrite. Default: all.")] = None,
    shown: TableOptions,
) -> None:
    """Write a package with its norms fused and lowered for the Neural Engine, and everything else as it was.

    Example: ane-harness rewrite theirs.mlpackage ours.mlpackage
    """
    import ane_rms
    from harness.report.fusion_table import SITES, document

    shown.check(SITES)
    from harness.errors import OutputError, PackageError

    try:
        ane_rms.rewrite(
            source,
            output,
            lowering=lowering,
            axes=axes,
            rescale=rescale,
            function=function,
            skip_model_load=True,
        )
        report = ane_rms.report(output)
    except ValueError as error:
        raise PackageError(squeezed(error)) from None
    except OSError as error:
        if error.errno is None and isinstance(error, FileNotFoundError):
            raise PackageError(squeezed(error)) from None
        if error.errno is None and isinstance(error, FileExistsError):
            raise OutputError(str(error)) from None
        raise OutputError(f"{output}: cannot be written: {error.strerror or error}") from None
    shown.show(document(report))
