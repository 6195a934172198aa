"""Recognise from its first bytes a file that is not of the kind that its name says."""

from __future__ import annotations

INSTEAD = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive, as torch.save writes it: save the model as safetensors"),
    (b"\x80\x02", "a pickle: save the model as safetensors"),
    (b"\x80\x04", "a pickle: save the model as safetensors"),
    (b"GGUF", "a GGUF file under another name"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"\x89HDF", "an HDF5 file: save the model as safetensors"),
)
"""First bytes of other kinds of files that occur under the name of a weights file or a configuration."""


def told(start: bytes) -> str:
    """Return a file's kind by its first bytes if it is neither safetensors nor JSON; "" if it may be one of them."""
    if not start.strip(b"\0"):
        return "only zeros, as an interrupted download leaves it: download it again" if start else "empty"
    if start.lstrip()[:1] == b"<":
        return "an HTML or XML page, such as a server's error: download the file again"
    return next((what for magic, what in INSTEAD if start.startswith(magic)), "")
