"""All writing to disk: files are whole or absent, and sealed with a checksum."""

import errno
import hashlib
import os
import secrets
from collections.abc import Callable
from io import BufferedRandom
from mmap import ACCESS_READ, mmap
from pathlib import Path

from lossviz.errors import Refusal, RequestError, WorkError

PARTIAL = ".partial"
MARK = b"lossviz-sha256:"
BLANK_SEAL = MARK + b"0" * 64


def atomic_write(path: Path, content: bytes | Callable[[BufferedRandom], None]) -> None:
    """Write a file so that at any moment, power cuts included, it is whole or it is not there.

    A unique temporary in the same folder, fsync, os.replace, fsync of the folder.

    Args:
        path: of the file.
        content: what it holds, or a function that writes it piece by piece.

    Raises:
        WorkError: the folder cannot be written or the disk is full; what was there is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("x+b") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        advice = f"what is there is whole; {advice_for(error)}, then give the same command again"
        raise WorkError(Refusal(shown(path), problem, advice=advice)) from error


def advice_for(error: OSError) -> str:
    """What to do about a folder that cannot be written."""
    elsewhere = "name another folder (with a CONFIG, and for figures: --out)"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{elsewhere}, or copy the run to a place that may be written"
    return f"make room or {elsewhere}"


def remove_partials(folder: Path) -> None:
    """Delete what a killed writer left behind; only the holder of the folder's lock may call this."""
    for leftover in folder.rglob(f".*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


def seal(content: bytes) -> bytes:
    """Add the SHA-256 of a file's content to it, in the place kept by `BLANK_SEAL`, or at the end.

    HDF5 and zip readers pass over bytes after the end; a format that forbids them, such as
    safetensors, keeps the place in its own metadata.
    """
    head, blank, tail = content.rpartition(BLANK_SEAL)
    before, after = (head, tail) if blank else (content + b"\n", b"")
    digest = hashlib.sha256(before)
    digest.update(BLANK_SEAL)
    digest.update(after)
    return b"".join((before, MARK, digest.hexdigest().encode(), after))


def sealed_text(text: str) -> bytes:
    """A text whose first line is a comment with its seal; a cut leaves that line, so it is seen too."""
    return seal(b"# " + BLANK_SEAL + b"\n" + text.encode())


def check_text(path: Path, content: bytes) -> None:
    """Check a text that may have been sealed by `sealed_text`; one that people wrote has no seal.

    Raises:
        WorkError: it was cut short or altered.
    """
    if content.startswith(b"# " + MARK):
        check_seal(path, content, "restore it from a copy; if you altered it on purpose, delete its first line")


def read_sealed(path: Path, advice: str) -> bytes:
    """The content of a sealed file, checked before anything tries to understand it.

    Raises:
        RequestError: there is no such file.
        WorkError: the file is cut short or altered; `advice` says what to do.
    """
    content = read(path)
    check_seal(path, content, advice)
    return content


def check_sealed(path: Path, advice: str) -> None:
    """As `read_sealed`, without holding the content in memory."""
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            check_seal(path, content, advice)
    except (OSError, ValueError):  # missing, or empty
        read_sealed(path, advice)


def check_seal(path: Path, content: bytes | mmap, advice: str) -> None:
    """Check what was read of a sealed file; raises as `read_sealed`."""
    at = content.rfind(MARK)
    while at >= 0 and content[at : at + len(BLANK_SEAL)] != _seal_at(content, at):
        at = content.rfind(MARK, 0, at)
    if at < 0:
        raise WorkError(Refusal(shown(path), "does not match its checksum: it was cut short or altered", advice=advice))


def _seal_at(content: bytes | mmap, at: int) -> bytes:
    """The seal that belongs there."""
    with memoryview(content) as view, view[:at] as before, view[at + len(BLANK_SEAL) :] as after:
        digest = hashlib.sha256(before)
        digest.update(BLANK_SEAL)
        digest.update(after)
    return MARK + digest.hexdigest().encode()


def check_owner(path: Path, found: str, wanted: tuple[str, ...]) -> None:
    """Refuse a file that is whole and lies in the place of another.

    Args:
        path: of the file.
        found: what it says that it is of; older files say nothing.
        wanted: what a file in that place may be of, by one name or another; empty where any will do.

    Raises:
        WorkError: it is of something else.
    """
    if found and wanted and found not in wanted:
        advice = "files were swapped, or copied from elsewhere: put back the one that belongs here"
        raise WorkError(Refusal(shown(path), f"is of {found}, and should be of {wanted[0]}", advice=advice))


def seal_file(file: BufferedRandom, at: int) -> None:
    """As `seal`, for a file that holds `BLANK_SEAL` at a place."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256")
    file.seek(at)
    file.write(MARK + digest.hexdigest().encode())


def read(path: Path) -> bytes:
    """The content of a file.

    Raises:
        RequestError: it is missing or may not be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise RequestError(Refusal(shown(path), f"cannot be read: {error.strerror}")) from error


def sha256(path: Path) -> str:
    """SHA-256 of the contents of a file, or of the names and contents of the files in a folder.

    Raises:
        RequestError: it is missing or may not be read.
    """
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file())
        return hashlib.sha256("\n".join(f"{sha256(each)} {each.name}" for each in files).encode()).hexdigest()
    try:
        with path.open("rb") as file:  # a piece at a time
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RequestError(Refusal(shown(path), f"cannot be read: {error.strerror}")) from error


def shown(path: Path) -> str:
    """A path as users read it: relative to the working directory if it lies below that."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)
