"""The reading and continuation of a text by the rows of a run, side by side with float32 PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.system.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.records.schema import Record, TextRecord


def lines(records: Sequence[Record]) -> Iterator[str]:
    """Yield a line for float32 PyTorch, once for each model and shape, and a line for each row that read the text."""
    shown: set[tuple[str, str]] = set()
    for record in records:
        text = record.text
        if text is None:
            continue
        if (record.model, record.shape) not in shown:
            shown.add((record.model, record.shape))
            yield f"{record.model} float32 PyTorch: {_figures(text.perplexity_float32)}; {_quoted(text, text.float32)}"
        agreement = f", {text.agreement:.1%} of next tokens as in float32"
        yield f"{record.title}: {_figures(text.perplexity)}{agreement}; {_quoted(text, text.continuation)}"


def _figures(perplexity: float | None) -> str:
    return "perplexity infinite" if perplexity is None else f"perplexity {perplexity:,.4g}"


def _quoted(text: TextRecord, continuation: str) -> str:
    return f"{' '.join(plain(text.prompt).split())!r} continues {' '.join(plain(continuation).split())!r}"
