"""Peers in C: other projects' classifiers and readers, run by small C programs that are compiled when first needed.

The compiled files are kept in the user's cache folder (``$XDG_CACHE_HOME/flowclass``, or ``~/.cache/flowclass``), under
names with a hash of what they were made from.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["compiled"]


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base) / "flowclass"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir())
    return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())


def compiled(source: Path, flags: Sequence[str], libraries: Sequence[str], *, depends: Sequence[Path] = ()) -> Path:
    """The program or shared library that ``cc flags source libraries`` makes; it is compiled only once.

    Raises RuntimeError with the compiler's messages.
    """
    text = b"".join(path.read_bytes() for path in (source, *depends))
    key = hashlib.sha256("\0".join((*flags, *libraries)).encode() + text).hexdigest()[:16]
    target = _folder() / f"{source.stem}-{key}"
    if not target.exists():
        scratch = target.with_name(f"{target.name}.{os.getpid()}")
        command = ["cc", *flags, "-o", str(scratch), str(source), *libraries]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{source.name} does not compile: {done.stderr.strip()[-500:]}")
        scratch.replace(target)
    return target
