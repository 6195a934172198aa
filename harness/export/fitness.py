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

    question = msgspec.json.decode(body, type=Question)
    announce("check names and shapes")
    pretrained.check_fit(question.checkpoint)
    if question.checkpoint.has_tokenizer:
        announce("check the tokenizer")
        vocabulary = configuration(question.checkpoint).vocab_size
        pretrained.tokenize(question.checkpoint, question.prompts or DEFAULT, vocabulary)
    yield from ()
