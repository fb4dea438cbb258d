"""The table of an earlier run of a population, and the rows of it that still hold."""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from analyzer import estimation, surgery
from analyzer.audit.folder import read_record
from analyzer.audit.population_manifest import Member
from analyzer.audit.population_result import AUDITS, PAGE, TABLE, AuditedNetwork
from analyzer.audit_record import AuditRecord
from analyzer.errors import AnalyzerError, GapModelError, ModelError
from analyzer.estimation.population_table import FILES
from analyzer.measures.registry import feature_values

__all__ = ["drop_replaced", "kept_rows", "table_of_an_earlier_run"]


def table_of_an_earlier_run(out: Path) -> estimation.PopulationTable | None:
    """The table in the folder of a population; None where there is none, or it is none any more."""
    try:
        return estimation.read_population(out / TABLE)
    except GapModelError:
        return None


def kept_rows(
    table: estimation.PopulationTable,
    members: Iterable[Member],
    done: Mapping[str, AuditedNetwork],
    asks_for: Callable[[Member, AuditRecord], bool],
    values_of: Callable[[Member, AuditRecord, float | None], dict[str, float]],
    out: Path,
) -> dict[str, AuditedNetwork]:
    """The networks of an earlier table whose rows this run would write again, by name.

    Accuracies that were measured on test data are those of the table, all else is what the audits
    and the manifest say.

    Args:
        table: of an earlier run.
        members: networks that this run has not come to.
        done: those that are done.
        asks_for: whether this run asks for an audit of a network.
        values_of: what the table says of a network, with its accuracy on test data.
        out: folder of the population.
    """
    rows = {name: row for row, name in enumerate(table.name)}
    asked_for = {one.made_by: True for one in done.values()}
    found = {}
    for member in members:
        row = rows.get(member.name)
        if row is None or any(
            table.further.get(name, [""] * len(table))[row] != member.cells.get(name, "")
            for name in FILES
        ):
            continue
        with contextlib.suppress(AnalyzerError):
            record = read_record(out / AUDITS / member.name)
            test = member.test_accuracy
            if test is None and member.test_data is not None:
                measured = float(table.test_accuracy[row])
                test = None if math.isnan(measured) else measured
            kept = AuditedNetwork.of(record, values_of(member, record, test))
            if not (member.model.is_file() and _is_of(table, row, record)):
                continue
            if _is_another(member, record):
                continue
            if kept.made_by not in asked_for:  # one network tells for all that were made like it
                asked_for[kept.made_by] = asks_for(member, record)
            if asked_for[kept.made_by]:
                found[member.name] = kept
    return found


def _is_another(member: Member, audited: AuditRecord) -> bool:
    """Whether a network is not the one that was audited; one whose file is gone is not another."""
    try:
        return surgery.sha256_of_network(member.model) != audited.model.sha256
    except ModelError:
        return member.model.is_file()


def drop_replaced(
    table: estimation.PopulationTable, members: Iterable[Member], out: Path
) -> list[str]:
    """Take the networks that are others by now out of the table of an earlier run.

    Returns:
        Their names.
    """
    dropped = []
    for member in members:
        with contextlib.suppress(AnalyzerError):
            if member.name in table.name and _is_another(
                member, read_record(out / AUDITS / member.name)
            ):
                dropped.append(member.name)
    if dropped:
        (out / PAGE).unlink(missing_ok=True)
        left = [row for row, name in enumerate(table.name) if name not in dropped]
        if left:
            estimation.write_population(table.take(left), out / TABLE)
        else:
            (out / TABLE).unlink()
    return dropped


def _is_of(table: estimation.PopulationTable, row: int, audited: AuditRecord) -> bool:
    """Whether a row was made from an audit, and not from one that was there before it."""
    told = table.values(row)
    return all(
        math.isnan(value) if math.isnan(told.get(name, math.nan)) else value == told[name]
        for name, value in feature_values(audited).items()
    )
