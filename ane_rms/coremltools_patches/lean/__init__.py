"""Convert faster and in less memory: the package is the same byte for byte, but weights are not copied on the way.

The table lists where coremltools 9.0 spends time and memory in converting a language model, and the replacement:

==============================================  ==================================================================
up to 5 temporaries of each weight, to see      its smallest and largest element, read in chunks (:mod:`.cast`)
whether it fits into float16
numpy's float16, an element at a time           torch's, with the same bits (:mod:`.float16_rounding`)
a float16 copy of each weight in memory         a file, mapped (:mod:`.spill`): the page cache may drop it, and the
                                                process does not hold it
three comparisons of each weight with itself    none
three copies of each weight while it is saved   none: the file of weights is written from the mapped one
a validation of the program after each of       one a pipeline, and one after each foreign pass (:mod:`.validation`)
about 110 passes
four walks over the program in a validation     one (:mod:`.consistency`)
three inferences of each constant               one (:mod:`.constants`)
a description of each type for each question    one a type (:mod:`.type_info`)
the program as text, 14 times, for a log        none, unless the log is shown (:mod:`.pipelines`, :mod:`.texts`)
collections of all of a process's garbage       collections of the conversion's own (:mod:`.garbage`)
copies of scopes and of lists of inputs,        plain lists (:mod:`.ops_and_values`)
object by object
==============================================  ==================================================================

The first is a pass, lent to coremltools' registry in place of its own during the conversion. The others have no public
interface: :mod:`.patches` contains each with its reason, and :mod:`ane_rms.coremltools_patches.guard` skips those that
were written for another source of coremltools. The conversion is then slower, but equally correct.

    with ane_rms.coremltools_patches.lean.leaner():
        coremltools.convert(...)

It acts in the thread that enters the ``with`` block. Only folders of weights that a conversion in the block has made
are moved.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ane_rms.coremltools_patches.guard import replacing
from ane_rms.coremltools_patches.lean import cast, patches
from ane_rms.coremltools_patches.lean.garbage import frozen_garbage
from ane_rms.coremltools_patches.lean.ops_and_values import Scopes
from ane_rms.coremltools_patches.lean.spill import Spill
from ane_rms.coremltools_patches.lean.type_info import memos
from ane_rms.mapped_arrays import in_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from ane_rms.coremltools_patches.guard import Replacement

__all__ = ["Spill", "leaner"]


@contextmanager
def leaner(casts: Spill | None = None, *, kept: dict[int, np.ndarray] | None = None) -> Iterator[None]:
    """Convert without copies of weights inside a ``with`` block; afterwards coremltools is restored.

    Parameters
    ----------
    casts: keeps the casts of a module's weights for the conversions that follow. Default: no cast is kept.
    kept: takes the weights in place of the file of weights, each under the offset that the package's program gives it.
        Such a package is of use only together with this dictionary. It stays empty, and the file is written, if
        coremltools' function that writes a weight is not the one known.
    """
    with frozen_garbage(), closing(Spill()) as own, in_files():
        spill = own if casts is None else casts
        lent = cast.loan()
        replacements: list[Replacement] = [*patches.all_patches(spill, kept), *memos(), Scopes()]
        if lent is not None:
            replacements.append(lent)
        try:
            with replacing(replacements):
                yield
        finally:
            spill.settle()
