"""The audit folder: its lock, its record and its files.

=====================  ==================================================================
``audit.json``         the record (:mod:`analyzer.audit_record`)
``curves.npz``         per class: correct counts of both orders, samples, unit order
``samples.npz``        per sample: label, correct, at how many n it is right in each order, and
                       what the scores say with nothing removed
``margins.npz``        per sample and layer: distance to the nearest other class; only with
                       margins
``interpolation.npz``  per sample: what is named as it is mixed with others
``neighbors.npz``      per sample: what labels its neighbors have
``classes.csv``        what the record says of each class, a row a class
``suspects.csv``       the samples whose labels look wrong, by name
``thumbnails.npz``     pictures of the first of them (:mod:`analyzer.audit.suspects`)
``report.html``        what people read (:mod:`analyzer.audit.report`)
``stopped.json``       with ``report.html`` and the manifest alone, where a first look ended the
                       audit (:mod:`analyzer.audit.stopped_audit`)
``manifest.json``      every file's SHA-256 (:mod:`analyzer.audit.result_manifest`)
=====================  ==================================================================

The ``.npz`` files of a measure are written and read by it. What an interrupted audit left is in
:mod:`analyzer.audit.unfinished_audit`.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

from analyzer.audit.result_manifest import (
    MANIFEST,
    check_files,
    unchanged,
)
from analyzer.audit.suspects import SUSPECTS, THUMBNAILS
from analyzer.audit_options import LimitOptions
from analyzer.audit_record import SCHEMA, AuditRecord, StoppedRecord
from analyzer.errors import AuditFolderError, DataError, OutputError, parameter
from analyzer.files import RUN_AGAIN, check_own_place, folder_identity, read_json
from analyzer.json_codec import JsonSource, decode, encode, parse_json
from analyzer.measures.registry import MEASURES
from analyzer.option_mechanism import check_values, options_of
from analyzer.output_files import lack_of_room, prepare_folder, write_json

__all__ = [
    "AUDIT",
    "CLASSES",
    "LOCK",
    "REPORT",
    "RESULT_FILES",
    "STOPPED",
    "UNFINISHED",
    "check_grounds",
    "finished_audit",
    "from_dict",
    "locked",
    "read_record",
    "refuse_foreign_files",
    "refuse_to_replace",
    "to_dict",
    "write_record",
]

AUDIT = "audit.json"
REPORT = "report.html"
CLASSES = "classes.csv"
STOPPED = "stopped.json"
RESULT_FILES = (
    *(name for measure in MEASURES for name in measure.files),
    CLASSES,
    SUSPECTS,
    THUMBNAILS,
    REPORT,
    STOPPED,
    AUDIT,
)
"""Every name that a file of a result can have, besides the manifest."""

UNFINISHED = ".unfinished"
"""The folder that holds what an interrupted audit left."""

LOCK = ".lock"
_POLL_SECONDS = 0.2  # between two tries to lock
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # not on Windows
_SECTIONS = {measure.name: measure.section for measure in MEASURES if measure.section}


def to_dict(record: AuditRecord) -> dict[str, Any]:
    """``record`` as JSON values, ``schema`` first, a field for each measure's section.

    Raises:
        ValueError: a number is NaN or infinite; a record of such a result must not be written.
    """
    value = encode(record, "audit")
    sections = value.pop("sections")
    return {
        "schema": value.pop("schema"),
        **value,
        **{name: sections.get(name) for name in _SECTIONS},
    }


def from_dict(value: Any, *, file: str | Path = AUDIT) -> AuditRecord:
    """The record that :func:`to_dict` gave, checked field by field.

    Raises:
        AuditFolderError: another schema version, a missing field or one of the wrong type; the
            message names ``file`` and the field.
    """
    if not isinstance(value, Mapping) or "schema" not in value:
        raise AuditFolderError(
            f"{file} is not the record of an audit: it has no field 'schema'. {RUN_AGAIN}"
        )
    if value["schema"] != SCHEMA:
        raise AuditFolderError(
            f"{file} has schema {value['schema']!r}, this version of onnx-gap reads {SCHEMA}; "
            f"run the audit again with {parameter('fresh', True)}, or use the version that "
            "wrote it."
        )
    source = JsonSource(str(file), AuditFolderError, RUN_AGAIN)
    sections = {
        name: decode(section, value[name], source, name)
        for name, section in _SECTIONS.items()
        if value.get(name) is not None
    }
    top = {name: item for name, item in value.items() if name != "sections"}
    record: AuditRecord = decode(AuditRecord, {**top, "sections": sections}, source)
    check_grounds(record, source)
    if not record.classes:
        raise AuditFolderError(f"{file}: 'classes' is empty; an audit has at least one class.")
    _check_classes(record, file)
    _check_quantities(record, source)
    return record


def check_grounds(record: AuditRecord | StoppedRecord, source: JsonSource) -> None:
    """Refuse what a verdict follows from where it is nothing that an audit can have.

    Raises:
        AuditFolderError: the message names the field.
    """
    hints = get_type_hints(LimitOptions)
    limits = {
        name: decode(hints[name], record.settings[name], source, f"settings.{name}")
        for name in options_of(LimitOptions)
        if name in record.settings
    }
    try:
        check_values(LimitOptions(**limits))
    except DataError as error:
        what = f"{source.name}: 'settings' has a limit that no audit has"
        raise AuditFolderError(f"{what}. {error.message}") from error
    if record.data.samples < 1:
        raise source.wrong("data.samples", "an integer of at least 1", record.data.samples)
    for name, value in (("chance", record.chance), ("accuracy", record.accuracy)):
        if not 0 <= value <= 1 or (name, value) == ("chance", 1):
            end = "below 1" if name == "chance" else "1"
            raise source.wrong(name, f"a number from 0 to {end}", value)


def _check_classes(record: AuditRecord, file: str | Path) -> None:
    """Refuse classes that contradict themselves or each other."""
    for name in ("classes", "empty_classes"):
        listed = [one.index for one in getattr(record, name)]
        if listed != sorted(set(listed)) or min(listed, default=0) < 0:
            raise AuditFolderError(f"{file}: {name!r} is not ascending by index. {RUN_AGAIN}")
    if any(
        len({one.gap is None, one.gap_low is None, one.gap_high is None}) > 1
        for one in record.classes
    ):
        raise AuditFolderError(
            f"{file}: a class has a gap without an interval, or an interval alone. {RUN_AGAIN}"
        )
    if len(record.class_names) < len(record.classes) + len(record.empty_classes):
        raise AuditFolderError(
            f"{file}: a class is listed with samples and without any. {RUN_AGAIN}"
        )


def _check_quantities(record: AuditRecord, source: JsonSource) -> None:
    """Refuse quantities that are null although there is a site.

    Raises:
        AuditFolderError: the message names the field.
    """
    if record.site is None:
        return
    said = {name: getattr(record, name) for name in ("zeta", "kappa")}
    for place, one in enumerate(record.classes):
        names = ("n0", "n0_r", "zeta", "kappa")
        said |= {f"classes[{place}].{name}": getattr(one, name) for name in names}
    for name, value in said.items():
        if value is None:
            raise source.wrong(name, "a number, as there is a site", value)


def write_record(folder: str | Path, record: AuditRecord) -> None:
    """Write ``audit.json``, whole or not at all."""
    write_json(Path(folder) / AUDIT, to_dict(record))


@contextlib.contextmanager
def finished_audit(folder: str | Path, *, besides: Collection[str] = ()) -> Iterator[AuditRecord]:
    """The record of a finished audit, and a block in which the files beside it can be read.

    Args:
        folder: audit folder.
        besides: files that need not match the manifest.

    Raises:
        AuditFolderError: the folder holds no finished audit, a file does not match the manifest,
            or the audit was replaced by the time the block ended.
    """
    folder = Path(folder)
    with unchanged(folder):
        if not os.path.lexists(folder / MANIFEST):
            read_record(folder)  # says so where there is no audit at all
        check_files(folder, RESULT_FILES, besides=besides)
        yield read_record(folder)


def read_record(folder: str | Path) -> AuditRecord:
    """Read and check ``audit.json`` alone, whether or not the folder holds a whole result.

    Raises:
        AuditFolderError: there is none, or it is damaged.
    """
    path = Path(folder) / AUDIT
    if not os.path.lexists(path) and os.path.lexists(Path(folder) / STOPPED):
        raise AuditFolderError(
            f"{folder} holds no result: a first look stopped the audit, and {REPORT} there says "
            f"why. Correct that and run it again, or pass {parameter('anyway', True)}."
        )
    if not os.path.lexists(path) and os.path.lexists(Path(folder) / UNFINISHED):
        raise AuditFolderError(
            f"{folder} holds no finished audit: the run that writes it is not done, or was "
            "interrupted. The same audit command finishes it, and measures nothing twice."
        )
    return from_dict(read_json(path), file=path)


def refuse_foreign_files(folder: Path) -> None:
    """Refuse a folder that is no audit and has a file with a name of a result's.

    An audit is known by its record, or by a manifest of such files alone; neither need be whole.

    Raises:
        AuditFolderError: the sentence names the file.
    """
    if any(_is_ours(folder, name) for name in (MANIFEST, AUDIT, STOPPED)):
        return
    for name in (*RESULT_FILES, MANIFEST):
        if os.path.lexists(folder / name):
            raise AuditFolderError(
                f"{folder} holds no audit, but a file {name}, which a result would replace. Move "
                f"it elsewhere, or name another {parameter('out')}."
            )


def refuse_to_replace(
    results: Mapping[str, Path | str | None], inputs: Iterable[Any], audits: Iterable[Path] = ()
) -> None:
    """Refuse a result that would replace what the same command reads, or another of its results.

    Args:
        results: files to write, by parameter; None or "auto" for none.
        inputs: values of options, of which any may name a file.
        audits: audit folders whose own files must stay, and where no file can be in their place
            or above them.

    Raises:
        OutputError: one of the results would.
    """
    names = (*RESULT_FILES, MANIFEST, LOCK, UNFINISHED)
    kept = {value for value in inputs if isinstance(value, (str, Path)) and value}
    taken = {os.path.realpath(value) for value in kept if "\0" not in str(value)}
    own = {os.path.realpath(folder / name) for folder in audits for name in names}
    folders = [os.path.realpath(folder) + os.sep for folder in audits]
    for name, path in results.items():
        if path is None or path == "auto":
            continue
        place = os.path.realpath(path)
        if (
            place in taken
            or own & {place, *map(str, Path(place).parents)}
            or any(folder.startswith(place + os.sep) for folder in folders)
        ):
            raise OutputError(
                f"{parameter(name, path)} would replace a file that this command reads or writes "
                "itself, or one of an audit. Name another file."
            )
        taken.add(place)


def _is_ours(folder: Path, name: str) -> bool:
    """Whether a record or a manifest looks as if an audit had written it."""
    try:
        value = read_json(folder / name)
    except AuditFolderError:
        return False
    if not isinstance(value, Mapping) or "schema" not in value:
        return False
    if name != MANIFEST:
        return {"model", "data", "settings"} <= value.keys()
    files = value.get("files")
    return isinstance(files, Mapping) and files.keys() <= set(RESULT_FILES)


@contextlib.contextmanager
def locked(
    folder: Path,
    *,
    wait: bool = False,
    parents: bool = True,
    say: Callable[[str], None] = lambda sentence: None,
) -> Iterator[Callable[[], None]]:
    """``folder``, made if needed, with nobody else writing in it until the block ends.

    Gives a function that raises an AuditFolderError where the file of the lock was removed or
    replaced: then another run may write in the folder, and nothing must be put there. Any error of
    the block is that one where the folder itself was, which makes files vanish anywhere.

    The lock is on the file ``.lock``, which says who holds it and is removed in the end. A killed
    process leaves the file behind, but not the lock, so that it stops no other run.

    Args:
        folder: of an audit or a population.
        wait: until another run is done, rather than refuse.
        parents: whether the folders above it are made, too.
        say: told whom the run waits for.

    Raises:
        AuditFolderError: another run holds the lock, or the folder cannot be written, or something
            else than a lock has its name; or the folder was moved, removed or replaced meanwhile.
    """
    path = folder / LOCK
    told = False
    while (held := _try_to_lock(path, parents)) is None:
        holder = _holder(path)
        if not wait:
            raise AuditFolderError(
                f"{folder} is being written by another run ({holder}). Wait until it is done, as "
                f"{parameter('wait', True)} does, or name another {parameter('out')}."
            )
        if not told:
            say(f"Waiting for another run that writes {folder} ({holder}).")
            told = True
        time.sleep(_POLL_SECONDS)

    def check() -> None:
        if not _is_at(path, held):
            raise AuditFolderError(
                f"{path} was removed or replaced while this run held it, so another run may be "
                "writing there. Run the same command again once no other does."
            )

    identity = folder_identity(folder, follow=True)
    try:
        yield check
    except Exception as error:
        if folder_identity(folder, follow=True) == identity:
            if (why := lack_of_room(folder, error)) is None:
                raise
            raise AuditFolderError(
                f"{folder} has no room for the files of this run: {why}. Make room there, then "
                "run the same command again."
            ) from error
        raise AuditFolderError(
            f"{folder} was moved, removed or replaced while this run worked in it. Leave it where "
            "it is until a run is done, and run the same command again."
        ) from error
    finally:
        _release(path, held)


def _try_to_lock(path: Path, parents: bool) -> int | None:
    """A descriptor that holds the lock; None while another process does."""
    while True:
        prepare_folder(path.parent, parents=parents)
        check_own_place(path, "a file")
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
        except FileNotFoundError:  # a run that failed has just removed its empty folder
            continue
        except OSError as error:
            raise AuditFolderError(
                f"{path} cannot be written: {error.strerror or error}. Remove it, or name another "
                f"{parameter('out')}."
            ) from error
        if not _lock(file):
            os.close(file)
            return None
        # Whoever held it before may have removed the file between the two calls.
        if _is_at(path, file):
            break
        os.close(file)
    if os.fstat(file).st_size and not _about(path):
        os.close(file)
        raise AuditFolderError(
            f"{path} is no lock of onnx-gap, which keeps one there while it works. Move it "
            f"elsewhere, or name another {parameter('out')}."
        )
    about = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        os.ftruncate(file, 0)
        os.write(file, json.dumps(about).encode())
    except OSError as error:
        _release(path, file)
        raise AuditFolderError(
            f"{path} cannot be written: {error.strerror or error}. Make room for it, or name "
            f"another {parameter('out')}."
        ) from error
    return file


_LONGEST_LOCK = 4096  # bytes; that of a run has some 80


def _holder(path: Path) -> str:
    """Who holds the lock, in words."""
    return _about(path) or "it has just begun"


def _about(path: Path) -> str:
    """What the file of a lock says of the run that wrote it; "" where it does not."""
    try:
        with path.open("rb") as file:
            about = parse_json(file.read(_LONGEST_LOCK))
        return f"process {about['pid']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it was written or removed just now
        return ""


def _is_at(path: Path, file: int) -> bool:
    """Whether the file of a descriptor is the one that is at ``path``."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file), os.lstat(path))
    return False


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # behind the text, which others read while the lock is held

    def _lock(file: int) -> bool:
        os.lseek(file, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(file, 0, os.SEEK_SET)
        return True

    def _release(path: Path, file: int) -> None:
        os.close(file)
        with contextlib.suppress(OSError):  # another run has opened it: it is that one's now
            path.unlink()

else:
    import fcntl

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            os.close(file)
            raise AuditFolderError(
                f"The file system does not allow a lock on a file: {error.strerror or error}. "
                f"Name an {parameter('out')} on another one."
            ) from error
        return True

    def _release(path: Path, file: int) -> None:
        if _is_at(path, file):  # else it is another run's
            with contextlib.suppress(OSError):
                path.unlink()  # while it is held: a later run makes a file of its own
        os.close(file)
