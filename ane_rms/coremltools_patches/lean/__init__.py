"""A faster and leaner conversion: the same package, byte by byte, without the copies of weights on the way.

Where coremltools 9.0 spends a conversion of a language model, and what is done instead:

==============================================  ==================================================================
up to 5 temporaries of each weight, to see      its smallest and largest element, read in chunks (:mod:`.cast`)
whether it fits into float16
a float16 copy of each weight in memory         a file, mapped (:mod:`.spill`): the page cache may drop it, and the
                                                process does not hold it
three comparisons of each weight with itself    none
three copies of each weight while it is saved   none: the file of weights is written from the mapped one
a validation of the program after each of       one a pipeline; after passes that are not coremltools' own, as ever
about 110 passes
==============================================  ==================================================================

The first is a pass, registered in the place of coremltools' own for as long as the conversion lasts. For the others
there is no public way: :mod:`.patches` holds each with its reason, undoes it after the conversion, and leaves out what
was written against another text of coremltools. The conversion is then slower, and as right.

    with ane_rms.coremltools_patches.lean.leaner():
        coremltools.convert(...)
"""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from ane_rms.coremltools_patches.lean import cast, patches
from ane_rms.coremltools_patches.lean.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["leaner"]


@contextmanager
def leaner() -> Iterator[None]:
    """Have conversions within a ``with`` block do without their copies of weights; afterwards, all is as before."""
    with ExitStack() as stack:
        spill = stack.enter_context(closing(Spill()))
        stack.enter_context(cast.registered())
        for patch in patches.all_patches(spill):
            stack.enter_context(patch.applied())
        yield
