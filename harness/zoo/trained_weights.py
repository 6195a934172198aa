"""Describe trained weights in a Python package registry: the table ``[trained]`` of a zoo file."""

from __future__ import annotations

import re

import msgspec

_PACKAGE = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.!+-]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[\w][\w.-]*\.gguf")


class TrainedWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The packages that contain a model's weights, and their licence."""

    packages: tuple[str, ...]
    """Packages of the registry with their versions, such as ``name==1.0``."""
    files: tuple[str, ...]
    """One file in each package, in the order in which they are concatenated."""
    name: str
    """Name of the whole file."""
    sha256: str
    """SHA-256 of the whole file."""
    licence: str
    """The licence's name."""
    terms: str = ""
    """Address of the terms that a user must accept first; empty for a free licence."""

    @property
    def needs_acceptance(self) -> bool:
        """Whether a user must accept the licence's terms first."""
        return bool(self.terms)

    def problem(self) -> str:
        """Return the first mistake in the table, as ``key: expected ...``; "" if there is none."""
        if len(self.packages) != len(self.files) or not self.files:
            return f"files: expected one for each of the {len(self.packages)} packages, got {len(self.files)}"
        for package in self.packages:
            if not _PACKAGE.fullmatch(package):
                return f"packages: expected name==version, got {package!r}"
        if not _DIGEST.fullmatch(self.sha256):
            return f"sha256: expected 64 hexadecimal digits, got {self.sha256!r}"
        if not _NAME.fullmatch(self.name):
            return f"name: expected a file's name that ends in .gguf, got {self.name!r}"
        return ""
