"""How an audit ended: with a result in its folder, or after the first look without one.

What others read of it (:mod:`analyzer.audit.junit_results`, :mod:`analyzer.audit.markdown_results`)
is made of this alone, so that a build that stops early leaves the same pages as one that goes on.
"""

from dataclasses import dataclass
from pathlib import Path

from analyzer.audit.folder import finished_audit
from analyzer.audit.report import Scale, expected_accuracy
from analyzer.audit.suspects import Suspect, read_suspects
from analyzer.audit.verdict import doubt_of
from analyzer.audit_record import AuditRecord, GapRecord, VerdictRecord
from analyzer.errors import AuditStopped

__all__ = ["Ending", "ending_of", "ending_of_stop"]


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of an audit that is over."""

    model: str  # as the caller gave it
    data: str
    accuracy: float  # on the training data, with nothing removed
    verdict: VerdictRecord | None  # None: no limit was asked for
    reason: str = ""  # why nothing was counted, and how to go on; "" where it was
    record: AuditRecord | None = None  # None where nothing was counted
    folder: Path | None = None  # likewise
    suspects: tuple[Suspect, ...] = ()

    @property
    def doubt(self) -> str:
        """Why there is no estimate to rely on; "" where there is one."""
        return self.reason if self.record is None else doubt_of(self.record)

    @property
    def gap(self) -> GapRecord | None:
        """The estimate where it can be relied on."""
        return None if self.record is None or self.doubt else self.record.gap

    @property
    def expected(self) -> Scale | None:
        """The accuracy that it means on unseen data."""
        return None if self.record is None or self.doubt else expected_accuracy(self.record)


def ending_of(folder: str | Path) -> Ending:
    """The ending of the finished audit in ``folder``.

    Raises:
        AuditFolderError: there is none, or its files do not belong together.
    """
    folder = Path(folder)
    with finished_audit(folder) as record:
        suspects = read_suspects(folder) if record.suspects else ()
    return Ending(
        model=record.model.path,
        data=record.data.source,
        accuracy=record.accuracy,
        verdict=record.verdict,
        record=record,
        folder=folder,
        suspects=suspects,
    )


def ending_of_stop(model: str, data: str, stopped: AuditStopped) -> Ending:
    """The ending of an audit that a first look stopped.

    Args:
        model, data: as the caller gave them.
        stopped: why.
    """
    reason = stopped.for_command_line()
    return Ending(model, data, stopped.accuracy, stopped.verdict, reason)
