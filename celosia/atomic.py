"""Outputs that are complete or not there at all.

Each is made under a temporary name beside its place and then renamed, so that an error or an
interrupt leaves the earlier output as it was.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from celosia.errors import CelosiaError

__all__ = ["MARKER", "atomic_directory", "atomic_write"]

#: File that says a directory was made here, and may be replaced as a whole.
MARKER = ".celosia"


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CelosiaError(f"{path}: cannot be written: {error.strerror or error}") from error


def atomic_write(path: Path | str, data: bytes | str) -> None:
    """Write `data` to the file `path`; text is UTF-8.

    Raises
    ------
    CelosiaError
        If the file cannot be written; an earlier one is then untouched.
    """
    path = Path(path).resolve()
    temporary = _sibling(path)
    with _named_errors(path):
        try:
            with temporary.open("xb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    if not path.is_dir():
        if path.exists():
            raise CelosiaError(f"{path}: must be a directory, but is a file; name another output")
    elif any(path.iterdir()) and not (path / MARKER).exists():
        raise CelosiaError(
            f"{path}: holds files that Celosia did not make, and is replaced as a whole; "
            "name a new or empty directory"
        )


@contextlib.contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Give a temporary directory that becomes `path` when the block ends without an error.

    An earlier output at `path` is replaced as a whole. A directory that was not made here, and is
    not empty, is refused before the block starts.

    Raises
    ------
    CelosiaError
        If `path` is refused or cannot be written; what is there is then untouched.
    """
    path = Path(path).resolve()
    with _named_errors(path):
        _check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _sibling(path)
        temporary.mkdir()
    try:
        yield temporary
        with _named_errors(path):
            (temporary / MARKER).write_text("Made by celosia, and replaced as a whole.\n")
            earlier = _sibling(path)
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, earlier)
            try:
                os.rename(temporary, path)
            except OSError:
                if earlier.exists():
                    os.rename(earlier, path)
                raise
            shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
