"""Ctrl-C between any two steps of a conversion: coremltools is what it was, no lock is held, no folder is left.

Python raises ``KeyboardInterrupt`` where a function begins, and where a built-in function returns. A profiler is told
of both, so it raises at the moment that a test has drawn.
"""

from __future__ import annotations

import gc
import inspect
import shutil
import sys
import traceback
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder
from coremltools.converters.mil.mil.passes.pass_pipeline import tqdm

import ane_rms
from ane_rms import conversion, installation, mapped_arrays
from ane_rms.conversion import convert_through
from ane_rms.coremltools_patches import guard, isolation
from ane_rms.coremltools_patches.lean import garbage
from tests.ane_rms.coremltools_patches.conversions import digest, installed, lean, left, of_mil, ours, program
from tests.mil_tools import NE

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""An interruption inside a finaliser is printed and forgotten, by Python's rules."""

OURS = str(Path(ane_rms.__file__).parent)
LOCKS = {"guard": guard._lock, "garbage": garbage._lock, "installation": installation._lock}
VARIABLES = (guard._switched_on, installation._here, conversion._handed_over, mapped_arrays._in_files)


def profiled(act, note):
    """Call ``act``, and ``note(frame)`` at each moment; return the files of the functions that an interruption met."""

    def profile(frame, event, _):
        if event in ("call", "c_return"):
            note(frame)

    try:
        sys.setprofile(profile)
        act()
    except KeyboardInterrupt as error:
        return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    finally:
        sys.setprofile(None)
    return []


def interrupt(act, moment):
    """Call ``act``, and interrupt it at its moment of that number; return as :func:`profiled` does."""
    left = moment

    def note(_frame):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    return profiled(act, note)


def moments_of(act, count, seed):
    """Return the numbers of ``count`` moments of ``act`` that are drawn, at most one of each line; None for each line.

    Most moments are those of a few loops. Drawn by line, they are mostly those of what is done once.
    """
    lines, number = defaultdict(list), 0

    def note(frame):
        nonlocal number
        number += 1
        lines[frame.f_code, frame.f_lineno].append(number)

    profiled(act, note)
    draw = np.random.default_rng(seed)
    moments = draw.permutation([draw.choice(found) for found in lines.values()])
    return moments[:count].tolist()


def replaced():
    """Return every place that a lean conversion replaces, with what is there."""
    places = [(place, "convert") for place in installation.PLACES]

    def note(_model, **_):
        places.extend((one.replacement.owner, one.replacement.attribute) for one in guard._standing.values())

    with ane_rms.installed():
        convert_through(note, program(0), {"compute_units": NE}, lean=True)
    return [(owner, name, inspect.getattr_static(owner, name)) for owner, name in places]


def is_free(lock):
    """Return whether another thread can take a lock."""

    def take():
        if taken := lock.acquire(False):
            lock.release()
        return taken

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(take).result()


def is_elses(files):
    """Return whether the innermost function that is not Python's own is another library's, or a finaliser's."""
    known = [file for file in files if "site-packages" in file or file.startswith(OURS)]
    return not (known and known[-1].startswith(OURS))


def traces(before, frozen):
    """Return what is left of conversions that have ended."""
    after = [(owner, name, value, inspect.getattr_static(owner, name)) for owner, name, value in before]
    found = [f"{owner}.{name}" for owner, name, old, new in after if new is not old and type(new) is not int]
    found += [f"replacement of {one.replacement.attribute}" for one in guard._standing.values()]
    found += [f"lock of {name}" for name, lock in LOCKS.items() if not is_free(lock)]
    found += [variable.name for variable in VARIABLES if variable.get(None)]
    found += ["a conversion under way"] * bool(isolation._converting or garbage._running)
    found += ["numbers of names"] * bool(Builder.name_count)
    return found + ["frozen objects"] * bool((gc.get_freeze_count() > 0) != frozen)


def traces_of_others(files, folder):
    """Return temporary files that are left, and tqdm's locks, and remove them; none may be left by a function of ours.

    coremltools keeps its weights in a temporary folder, a specification in a temporary file, and tqdm its locks, in
    functions written in Python: an interruption inside these functions leaves what it leaves with a plain
    ``ct.convert``.
    """
    held = [one for one in tqdm.get_lock().locks if not is_free(one)]
    found = ["a lock of tqdm"] * len(held) + (names := left(folder))
    for one in held:
        one.release()
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [] if is_elses(files) else found


def enter_and_leave():
    """Convert by a function that does nothing, so that all moments are those around a conversion."""
    with ane_rms.installed():
        convert_through(lambda _, **__: None, program(0), {"compute_units": NE}, lean=True)


def check(act, count, folder, seed=0):
    before, frozen = replaced(), gc.get_freeze_count() > 0
    act()
    found = {}
    for moment in moments_of(act, count, seed):
        files = interrupt(act, moment)
        if one := traces(before, frozen) + traces_of_others(files, folder):
            found[moment] = one, files
    assert found == {}


def check_conversions(way, count, folder):
    expected = digest(way(1))
    check(lambda: way(1), count, folder)
    assert digest(way(1)) == expected


WAYS = (ours, lean, installed, of_mil)


def name_of(way):
    return way.__name__


def test_at_moments_around_a_conversion(folder):
    check(enter_and_leave, 60, folder)


@pytest.mark.slow
def test_at_each_line_around_a_conversion(folder):
    check(enter_and_leave, None, folder)


@pytest.mark.parametrize("way", [lean, installed], ids=name_of)
def test_at_moments_of_a_conversion(way, folder):
    check_conversions(way, 6, folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_at_many_moments_of_a_conversion(way, folder):
    check_conversions(way, 250, folder)


def release_tqdm():
    """Release tqdm's locks if this thread was interrupted inside tqdm: the other threads would wait for them."""
    for lock in tqdm.get_lock().locks:
        with suppress(RuntimeError, AssertionError):  # this thread does not hold it
            while True:
                lock.release()


def interrupted_at_once(count, seed, folder):
    """Interrupt conversions in four threads at moments of their own, while a fifth converts undisturbed."""
    before, frozen = replaced(), gc.get_freeze_count() > 0
    expected = digest(ours(0))
    jobs = [(way, moments_of(lambda way=way: way(1), count, seed)) for way in WAYS]

    def run(job):
        way, moments = job
        for moment in moments:
            interrupt(lambda: way(1), moment)
            release_tqdm()
        return [variable.name for variable in VARIABLES if variable.get(None)]

    with ThreadPoolExecutor(5) as pool:
        undisturbed = [pool.submit(lambda: digest(ours(0))) for _ in range(count)]
        assert list(pool.map(run, jobs)) == [[]] * len(jobs)
        assert [one.result() for one in undisturbed] == [expected] * count
    gc.collect()
    traces_of_others((), folder)
    assert traces(before, frozen) == []


def test_in_threads(folder):
    interrupted_at_once(2, 0, folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_in_threads_many_times(folder):
    interrupted_at_once(60, 1, folder)
