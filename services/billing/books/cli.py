"""`wam ledger archive`, `wam ledger verify`, `wam rebuild billing`: the ledger's books from the command line. Exit codes as all of `wam`; 1 where the books do not agree."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from services.billing.books.refusal import Refusal
from services.billing.settings import BillingSettings, TalliesSettings
from shared.clock import clock_from
from shared.terminal import REFUSED, USAGE, AsJson, err, out, print_json, run, settings_of
from shared.times import rfc3339

if TYPE_CHECKING:
    from services.billing.books.archive import Archive
    from services.billing.books.rebuilding import Rebuilt

ledger = typer.Typer(
    no_args_is_help=True, help="The ledger's books: archive closed months, verify all of it."
)
rebuild = typer.Typer(no_args_is_help=True, help="Recompute from the topics what was computed from them.")

_MONTH = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])")

From = Annotated[
    Path | None, typer.Option("--archive", help="The archive's folder; WA_LEDGER_ARCHIVE_DIR without it.")
]


@ledger.command("archive")
def archive_months(
    before: Annotated[
        str | None,
        typer.Option("--before", help="YYYY-MM: archive the months before it; all closed ones without it."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--to", help="The archive's folder; WA_LEDGER_ARCHIVE_DIR without it.")
    ] = None,
    format: Annotated[str, typer.Option("--format", help="parquet or csv.")] = "parquet",
    truncate: Annotated[
        bool,
        typer.Option(
            "--truncate", help="Then delete from the topic what is archived and nobody needs there."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write closed months into files, each entry a row of its own with its coordinates; twice changes nothing."""
    from services.billing.books import archiving
    from services.billing.books.archive import Archive
    from services.billing.books.segments import first_open_month

    settings = settings_of(BillingSettings)
    place = _folder(folder, settings)
    now = clock_from(settings.clock_file).now()
    open_month = first_open_month(now)
    before = before or open_month
    if not _MONTH.fullmatch(before):
        raise typer.BadParameter(f"{before!r} is no month, e.g. 2026-11", param_hint="--before")
    if before > open_month:
        raise typer.BadParameter(f"{open_month} is not over yet everywhere", param_hint="--before")
    if format not in ("parquet", "csv"):
        raise typer.BadParameter("parquet or csv", param_hint="--format")
    made_at = rfc3339(round(now.timestamp() * 1000))
    with _refusals():
        archive = Archive(place)
        sealed = run(archiving.archive_before(settings, archive, before, format, made_at))  # type: ignore[arg-type]
        deleted = run(archiving.truncate(settings, archive, settings_of(TalliesSettings))) if truncate else {}
    head = archive.chain[-1].sha256 if archive.chain else None
    if as_json:
        print_json(
            {
                "segment": msgspec.to_builtins(sealed.manifest, str_keys=True) if sealed else None,
                "deleted": {str(n): one._asdict() for n, one in deleted.items()},
                "chain_head": head,
            }
        )
        return
    if sealed is None:
        out.print(f"Nothing to do: all entries of months before {before} are in {place}.", markup=False)
    else:
        made = sealed.manifest
        sums = ", ".join(f"{_money(micros)} {currency}" for currency, micros in made.sums.items())
        text = f"Segment {made.segment}: {made.entries} entries in {len(made.files)} files, {sums or 'no money'}."
        out.print(text, markup=False)
    if truncate:
        count = sum(one.end - one.first for one in deleted.values())
        out.print(f"Deleted {count} archived records of {len(deleted)} partitions from the topic.")
    if head:
        out.print(f"Chain head {head}")


@ledger.command("verify")
def verify_ledger(folder: From = None, as_json: AsJson = False) -> None:
    """Compare the ledger with the send events it came of, and the archive with its manifests."""
    from services.billing.books.findings import KINDS
    from services.billing.books.verifying import verify

    archive = _archive(folder)
    with _refusals():
        report = run(verify(settings_of(BillingSettings), archive))
    if as_json:
        print_json(msgspec.to_builtins(report, str_keys=True))
    else:
        for finding in report.findings:
            where = ", ".join(
                f"{name} {value}"
                for name, value in (
                    ("message", finding.message),
                    ("event", finding.event),
                    ("ledger", finding.place),
                    ("source", finding.source),
                )
                if value is not None
            )
            out.print(
                f"{finding.kind}: {where + ': ' if where else ''}{finding.text}", markup=False, soft_wrap=True
            )
        for kind, count in report.found.items():
            out.print(f"{count} {kind}: {KINDS[kind]}", markup=False, soft_wrap=True)
        for line in _looked_at(msgspec.to_builtins(report.counts)):
            out.print(line, markup=False)
        if report.chain_head:
            out.print(f"Chain head {report.chain_head}")
        out.print("The ledger agrees." if report.agrees else "The ledger does not agree.")
    if not report.agrees:
        raise typer.Exit(REFUSED)


@rebuild.callback()
def _group() -> None:
    """Recompute from the topics."""


@rebuild.command("billing")
def rebuild_billing(
    write: Annotated[
        bool,
        typer.Option(
            "--write/--check",
            help="Make the tallies afresh as another generation, or only compare (which is the default).",
        ),
    ] = False,
    generation: Annotated[
        int | None,
        typer.Option(
            "--generation", min=1, help="With --write: the new generation; the next one without it."
        ),
    ] = None,
    folder: From = None,
    as_json: AsJson = False,
) -> None:
    """Recompute ledger and tallies from the topics, and prove by digests that they are what is there."""
    from services.billing.books import rebuilding

    settings = settings_of(TalliesSettings)
    archive = _archive(folder)
    if generation is not None and not write:
        raise typer.BadParameter("only with --write", param_hint="--generation")
    with _refusals():
        if write:
            rebuilt = run(rebuilding.write(settings, archive, generation or settings.tallies_generation + 1))
        else:
            rebuilt = run(rebuilding.check(settings, archive))
    if as_json:
        print_json(msgspec.to_builtins(rebuilt, str_keys=True))
    else:
        _show_rebuilt(rebuilt)
        if write:
            out.print(
                f"The tallies stand ready as generation {rebuilt.generation}: start them with "
                f"WA_TALLIES_GENERATION={rebuilt.generation} within seven days; until then the former ones serve.",
                soft_wrap=True,
            )
    if not rebuilt.agrees:
        raise typer.Exit(REFUSED)


def _show_rebuilt(rebuilt: "Rebuilt") -> None:
    for month in rebuilt.months:
        told = "agrees" if month.agrees else "DIFFERS"
        out.print(f"{month.waba_id} {month.month}: {told}", markup=False)
    for row in rebuilt.rows:
        text = f"row {row.row}: {_row(row.recounted)} by the ledger, {_row(row.in_redis)} in Redis"
        out.print(text, markup=False, soft_wrap=True)
    if rebuilt.tallies_behind:
        out.print("The tallies have not reached the ledger's end; rows that differ may only be late.")
    for name, digest in (
        ("ledger", rebuilt.ledger),
        ("ledger recomputed", rebuilt.ledger_recomputed),
        ("tallies recomputed", rebuilt.tallies),
        ("tallies in Redis", rebuilt.tallies_in_redis),
    ):
        out.print(f"{name:<18} {digest}", markup=False)
    out.print(f"{rebuilt.rows_compared} rows of the tallies compared, {rebuilt.rows_different} differ.")
    if not rebuilt.verification.agrees:
        out.print("The ledger does not agree with its events: `wam ledger verify` tells where.")


def _row(counts: msgspec.Raw | None) -> str:
    return "nothing" if counts is None else bytes(counts).decode()


def _archive(folder: Path | None) -> "Archive | None":
    from services.billing.books.archive import Archive

    place = folder or settings_of(BillingSettings).ledger_archive_dir
    with _refusals():
        return Archive(place) if place is not None else None


def _looked_at(counts: dict[str, Any]) -> Iterator[str]:
    yield f"{counts['entries']} entries in {counts['records']} records ({counts['repetitions']} repeated), {counts['events']} events."
    yield (
        f"{counts['compared']} compared with their events; of {counts['earlier']} the events are gone, "
        f"{counts['of_unknown_beginning']} of messages that began before those that are left, {counts['later']} came meanwhile."
    )
    if counts["not_folded"]:
        yield f"{counts['not_folded']} events wait for the ledger."
    if counts["segments"]:
        yield f"Archive: {counts['segments']} segments, {counts['files']} files."


def _money(micros: int) -> str:
    whole, rest = divmod(abs(micros), 1_000_000)
    return f"{'-' if micros < 0 else ''}{whole:,}.{rest:06}"


def _folder(given: Path | None, settings: BillingSettings) -> Path:
    folder = given or settings.ledger_archive_dir
    if folder is None:
        err.print("Where to? Say --to DIR, or set WA_LEDGER_ARCHIVE_DIR.", markup=False)
        raise typer.Exit(USAGE)
    return folder


@contextmanager
def _refusals() -> Iterator[None]:
    """End the command with the reason where the books refuse."""
    from shared.pricing import MarketMapError, RateCardError, RegimesFileError

    try:
        yield
    except Refusal as error:
        err.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    except (MarketMapError, RateCardError, RegimesFileError) as error:
        err.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None
