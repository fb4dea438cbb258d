"""``manifest.json``: which files make up a result, so that it appears whole or not at all.

The files of an audit are many, and no file system replaces several at once. So a result is written
aside, into ``.unfinished/result/``, its manifest last. Then the old manifest goes, the files move
into their places, and the new manifest follows as the last one. A folder without a manifest, or
with files that do not match it, is no result: nobody can read a mixture of two audits as one. A
move that was interrupted is completed by the next run, from the manifest that lies aside.

Signatures of a result are of ``manifest.json``, which names every file's SHA-256. They are made and
checked by OpenSSH's ``ssh-keygen -Y``, in the namespace ``onnx-gap``.
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analyzer.errors import AuditFolderError, DataError, OutputError, parameter
from analyzer.files import RUN_AGAIN, read_json, read_whole, sha256
from analyzer.measures.measure import Check
from analyzer.output_files import write_text

__all__ = [
    "MANIFEST",
    "NAMESPACE",
    "FileEntry",
    "check_files",
    "check_signature",
    "entries_of",
    "find_faults",
    "move_result",
    "read_entries",
    "unchanged",
    "write_entries",
]

MANIFEST = "manifest.json"

NAMESPACE = "onnx-gap"
"""What a signature is for; one that the same key made for something else does not count."""

_SCHEMA = 1
_SIGNATURE_SECONDS = 60  # that ssh-keygen may take
_LARGEST_SIGNATURE = 1 << 20  # bytes; of RSA with 16,384 bits it has 6,000
_KEY_SIZE = 10  # place of four bytes in a signature, after "SSHSIG" and a version
_SIGNATURE_BEGINS = b"-----BEGIN SSH SIGNATURE-----"
_NOBODY = "No principal matched"  # what ssh-keygen adds to every reason, or says alone


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a manifest says of a file."""

    sha256: str  # as hex
    bytes: int


def write_entries(folder: Path, entries: Mapping[str, FileEntry]) -> None:
    """Write the manifest of a result into ``folder``.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(folder / MANIFEST, _text(entries))


def entries_of(folder: Path, names: Collection[str]) -> Mapping[str, FileEntry]:
    """What a manifest says of those of the files ``names`` that are in ``folder``."""
    return {
        name: FileEntry(sha256(folder / name), (folder / name).stat().st_size)
        for name in names
        if (folder / name).is_file()
    }


def read_entries(folder: Path, known: Collection[str]) -> Mapping[str, FileEntry]:
    """The files of the result in ``folder``, by name.

    Args:
        folder: of the audit.
        known: the names that a file of an audit can have.

    Raises:
        AuditFolderError: there is no manifest, or it is damaged.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise AuditFolderError(
            f"{folder} holds no finished audit: {MANIFEST}, which is written last, is missing. "
            "Run the command that was writing it again."
        )
    value = read_json(path)
    files = value.get("files") if isinstance(value, Mapping) else None
    if not isinstance(files, Mapping) or value.get("schema") != _SCHEMA:
        raise AuditFolderError(
            f"{path} is not the manifest of an audit as this version of onnx-gap writes it. "
            f"{RUN_AGAIN}"
        )
    entries = {name: _entry(path, name, said, known) for name, said in files.items()}
    if _content(folder) != _text(entries).encode():
        raise AuditFolderError(f"{path} was changed after the audit. {RUN_AGAIN}")
    return entries


def find_faults(folder: Path, known: Collection[str]) -> dict[str, str]:
    """What does not match the manifest: a sentence for each file, by its name.

    Args:
        folder: of the audit.
        known: the names that a file of an audit can have; one of them that is there although the
            manifest does not list it is a fault; any other file is ignored.

    Raises:
        AuditFolderError: there is no manifest, or it is damaged.
    """
    entries = read_entries(folder, known)
    faults = {}
    for name in known:
        path, entry = folder / name, entries.get(name)
        if entry is None:
            if os.path.lexists(path):
                faults[name] = f"{path} is not in {MANIFEST}: it belongs to another result."
        elif not path.is_file():
            faults[name] = f"{path} is missing, and {MANIFEST} lists it."
        elif not _matches(path, entry):
            faults[name] = (
                f"{path} is not the file that {MANIFEST} lists: it was changed after the audit, "
                "or belongs to another one."
            )
    return faults


def check_files(folder: Path, known: Collection[str], *, besides: Collection[str] = ()) -> None:
    """Refuse a folder whose files, ``besides`` some, do not match its manifest.

    Raises:
        AuditFolderError: the sentence names the first of them.
    """
    for name, sentence in find_faults(folder, known).items():
        if name not in besides:
            raise AuditFolderError(f"{sentence} {RUN_AGAIN}")


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Show that the result in ``folder`` was not replaced while the block read it.

    Raises:
        AuditFolderError: it was, whatever the block has found wrong with what it read.
    """
    before = _content(folder)
    replaced = f"{folder} was replaced while it was being read; read it again."
    try:
        yield
    except AuditFolderError as error:
        if _content(folder) == before:
            raise
        raise AuditFolderError(replaced) from error
    if _content(folder) != before:
        raise AuditFolderError(replaced)


def move_result(staged: Path, out: Path, known: Collection[str]) -> None:
    """Put the result in ``staged`` into its place, or complete what was begun.

    Args:
        staged: a folder of the same file system, with the result and its manifest.
        out: where it belongs.
        known: the names that a file of an audit can have.

    Raises:
        AuditFolderError: the manifest in ``staged`` is damaged.
        OutputError: a folder is in the way, and nothing was moved; or a file cannot be moved, and
            what is left is moved by the next call.
    """
    entries = read_entries(staged, known)
    for name in (*known, MANIFEST):
        if (out / name).is_dir() and not (out / name).is_symlink():
            raise OutputError(
                f"{out / name} is a folder, where a file of the result belongs. Move it elsewhere, "
                "then run the same command again; nothing is measured again."
            )
    try:
        (out / MANIFEST).unlink(missing_ok=True)
        for name in known:
            if name not in entries:
                (out / name).unlink(missing_ok=True)
            elif (staged / name).exists():
                os.replace(staged / name, out / name)
        os.replace(staged / MANIFEST, out / MANIFEST)
    except OSError as error:
        raise OutputError(
            f"The result cannot be moved into {out}: {error.strerror or error}. Make room for it, "
            "then run the same command again; nothing is measured again."
        ) from error


def _text(entries: Mapping[str, FileEntry]) -> str:
    """The manifest, always as the same bytes: it is what a signature is made of."""
    files = {name: asdict(entries[name]) for name in sorted(entries)}
    return json.dumps({"schema": _SCHEMA, "files": files}, indent=2) + "\n"


def _entry(path: Path, name: str, said: Any, known: Collection[str]) -> FileEntry:
    if (
        name in known
        and isinstance(said, Mapping)
        and isinstance(said.get("sha256"), str)
        and type(said.get("bytes")) is int
    ):
        return FileEntry(said["sha256"], said["bytes"])
    raise AuditFolderError(
        f"{path}: the entry of {name!r} does not belong to an audit. {RUN_AGAIN}"
    )


def _matches(path: Path, entry: FileEntry) -> bool:
    try:
        return path.stat().st_size == entry.bytes and sha256(path) == entry.sha256
    except OSError as error:
        raise AuditFolderError(f"{path} cannot be read: {error.strerror or error}.") from error


def _content(folder: Path) -> bytes | None:
    try:
        return read_whole(folder / MANIFEST)
    except (OSError, DataError):
        return None


def check_signature(
    folder: Path, signature: Path, allowed_signers: Path, signer: str | None = None
) -> Check:
    """Whether somebody who may has signed the result in ``folder``.

    Args:
        folder: of the audit.
        signature: file that ``ssh-keygen -Y sign -n onnx-gap`` made of ``manifest.json``.
        allowed_signers: file of identities and their public keys, as ssh-keygen reads it.
        signer: the identity that must have signed; by default any that is allowed.

    Raises:
        AuditFolderError: a file is missing, or there is no ssh-keygen.
    """
    for name, path in (("signature", signature), ("allowed_signers", allowed_signers)):
        if not path.is_file():
            raise AuditFolderError(f"{parameter(name, path)} is not a file; name one that exists.")
    try:
        manifest = read_whole(folder / MANIFEST)
    except (OSError, DataError):
        return Check("signature", False, f"There is no {MANIFEST} in {folder} to be signed.")
    if signature.stat().st_size > _LARGEST_SIGNATURE:
        return _failed(signature, "it is too large to be one")
    try:
        said = signature.read_bytes().lstrip()
    except OSError as error:
        raise AuditFolderError(f"{signature} cannot be read: {error.strerror or error}.") from error
    if not said.startswith(_SIGNATURE_BEGINS):
        return _failed(signature, "it holds none that ssh-keygen made")
    if b"\r\n" in said:
        return _failed(signature, "its lines end in CR and LF, not in LF as ssh-keygen made them")
    if signer is not None:
        return _signed_by(signer, manifest, signature, allowed_signers)
    found = _one_signer(manifest, signature, allowed_signers)
    if not found.passed:  # ssh-keygen takes the first line of a key, whatever it allows
        for line in _lines_of_key(allowed_signers, said):
            with tempfile.NamedTemporaryFile() as alone:
                alone.write(line)
                alone.flush()
                again = _one_signer(manifest, signature, Path(alone.name))
            if again.passed:
                return again
    return found


def _one_signer(manifest: bytes, signature: Path, allowed_signers: Path) -> Check:
    """Whether whom ssh-keygen finds first for the key has signed it."""
    files = ("-s", str(signature.resolve()), "-f", str(allowed_signers.resolve()))
    found = _ssh_keygen("find-principals", *files, given=b"")
    if found.returncode or not found.stdout.strip():
        why = _in_one_line(found).removesuffix(_NOBODY).strip()
        return _failed(
            signature,
            f"ssh-keygen says: {why}" if why else f"its key is not one of {allowed_signers}",
        )
    identity = _decoded(found.stdout.splitlines()[0])
    return _signed_by(identity, manifest, signature, allowed_signers)


def _signed_by(identity: str, manifest: bytes, signature: Path, allowed_signers: Path) -> Check:
    files = ("-s", str(signature.resolve()), "-f", str(allowed_signers.resolve()))
    answer = _ssh_keygen("verify", *files, "-n", NAMESPACE, "-I", identity, given=manifest)
    if answer.returncode:
        return _failed(signature, f"ssh-keygen says of {identity}: {_in_one_line(answer)}")
    return Check("signature", True, f"{identity} signed {MANIFEST}.")


def _lines_of_key(allowed_signers: Path, signature: bytes) -> list[bytes]:
    """The lines of a file of signers that have the key of a signature."""
    armored = b"".join(line for line in signature.splitlines() if not line.startswith(b"-----"))
    try:
        content = base64.b64decode(armored)
        size = int.from_bytes(content[_KEY_SIZE : _KEY_SIZE + 4])
        key = base64.b64encode(content[_KEY_SIZE + 4 : _KEY_SIZE + 4 + size])
        return [line for line in allowed_signers.read_bytes().splitlines() if key in line.split()]
    except (OSError, ValueError):
        return []


def _failed(signature: Path, reason: str) -> Check:
    return Check("signature", False, f"{signature} is no good signature of {MANIFEST}: {reason}.")


def _ssh_keygen(action: str, *arguments: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise AuditFolderError(
            f"ssh-keygen, which checks a {parameter('signature')}, is not installed. Install "
            "OpenSSH, or check the signature elsewhere."
        )
    try:
        return subprocess.run(
            [program, "-Y", action, *arguments],
            input=given,
            capture_output=True,
            timeout=_SIGNATURE_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise AuditFolderError(
            f"The {parameter('signature')} cannot be checked: {error}. Check it with ssh-keygen."
        ) from error


def _in_one_line(answer: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join(_decoded(answer.stderr or answer.stdout).split())


def _decoded(said: bytes) -> str:
    return said.decode(errors="backslashreplace").strip().rstrip(".")
