"""Recognise from its first bytes a file that is not of the kind that its name says."""

from __future__ import annotations

LFS = b"version https://git-lfs"
INSTEAD = (
    (LFS, "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive, as torch.save writes it: save the model as safetensors"),
    *((b"\x80" + bytes([protocol]), "a pickle: save the model as safetensors") for protocol in range(2, 6)),
    (b"GGUF", "a GGUF file under another name"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"BZh", "a bzip2 archive: unpack it"),
    (b"\xfd7zXZ", "an xz archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (b"Rar!", "a rar archive: unpack it"),
    (b"\x89HDF", "an HDF5 file: save the model as safetensors"),
    (b"\x93NUMPY", "a NumPy file: save the model as safetensors"),
)
"""First bytes of other kinds of files that occur under the name of a weights file or a configuration."""
_TAR = (257, b"ustar")
"""Offset and bytes of the mark of a tar archive."""


def told(start: bytes) -> str:
    """Return a file's kind by its first bytes if it is neither safetensors nor JSON; "" if it may be one of them."""
    if not start.strip(b"\0"):
        return "only zeros, as an interrupted download leaves it: download it again" if start else "empty"
    if start.lstrip()[:1] == b"<":
        return "an HTML or XML page, such as a server's error: download the file again"
    if start[_TAR[0] :].startswith(_TAR[1]):
        return "a tar archive: unpack it"
    return next((what for magic, what in INSTEAD if start.startswith(magic)), "")


def is_text(start: bytes) -> bool:
    """Return whether the first bytes are printed text, as a server's short answer is."""
    return len(start) > 8 and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start)
