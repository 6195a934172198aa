"""Check in a child process, before a run begins, that a checkpoint's weights, configuration and tokenizer fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.zoo.checkpoint import Question
from harness.zoo.prompts import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def handle(body: bytes, announce: Callable[[str], None]) -> Iterator[bytes]:
    """Yield nothing if all fits.

    Raises
    ------
    ExportError: in one line, naming the part that does not fit.
    """
    from harness.export import pretrained
    from harness.export.configuration import configuration
    from harness.export.gguf_fit import check_gguf_fit

    question = msgspec.json.decode(body, type=Question)
    given = question.checkpoint
    announce("check names and shapes")
    if given.gguf_file:  # its tokenizer takes up to 20 s to read, which a run does once
        check_gguf_fit(given)
        return
    pretrained.check_fit(given)
    if given.has_tokenizer:
        announce("check the tokenizer")
        vocabulary = configuration(given).vocab_size
        pretrained.tokenize(given, question.prompts or DEFAULT, vocabulary)
    yield from ()
