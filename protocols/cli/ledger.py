"""`secagg ledger`: recompute a privacy ledger from its lines, as an auditor would."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from dp.accountants import Against, Guarantee
from dp.book import Book, State
from dp.ledger import Anchor, verify
from protocols.cli.words import FAILED, Figure, Verb, json_line
from protocols.demo.task import SettingError

_EPILOG: Final = """\
The file is read and never written, also while its owner has it open. What is
recomputed is every hash and every cost. Lines that were cut off at the end do
not show, nor does a file that was set back to an earlier state: give --anchor,
records and head as the ledger's owner told them (`ledger.anchor`), and a ledger
that never stood there is refused.

Exit code 1: the file is not what a ledger wrote, or its rounds cost more than
its budget."""


def run(options: argparse.Namespace) -> int:
    """Print what a ledger says and costs.

    Raises:
        SettingError: the file cannot be read, or the anchor is none.
        dp.LedgerError: the file is not what a ledger wrote.
    """
    try:
        with options.file.open("rb") as lines:
            book = verify(lines, anchor=_anchor(options.anchor))
    except OSError as error:
        raise SettingError(f"{str(options.file)!r} cannot be read: {error.strerror}") from error
    if options.json:
        print(json_line(_figures(book)))
    else:
        print("\n".join(_text(book)))
    return 0 if book.within_budget else FAILED


def _anchor(given: str | None) -> Anchor | None:
    if given is None:
        return None
    records, _, head = given.partition(":")
    if not records.isdecimal() or len(head) != 64:
        raise SettingError(f"--anchor {given!r:.80} must be RECORDS:HEAD, a number and 64 hexadecimal digits")
    return Anchor(records=int(records), head=head)


def _counts(book: Book) -> dict[str, int]:
    states = [entry.state for entry in book.entries]
    return {state.value: states.count(state) for state in State}


def _figures(book: Book) -> dict[str, Figure]:
    server, public = book.guarantee(Against.SERVER), book.guarantee(Against.PUBLISHED)
    return {
        "ledger": book.opening.ledger,
        "epsilon_budget": book.budget.epsilon,
        "delta": book.budget.delta,
        "neighboring": book.budget.neighboring.value,
        "order": book.opening.order,
        **{f"rounds_{state}": count for state, count in _counts(book).items()},
        "epsilon_server_view": server.epsilon,
        "accountant_server_view": server.accountant,
        "epsilon_public_view": public.epsilon,
        "accountant_public_view": public.accountant,
        "within_budget": book.within_budget,
        "anchor": f"{book.anchor.records}:{book.anchor.head}",
    }


def _text(book: Book) -> tuple[str, ...]:
    budget, counts = book.budget, _counts(book)
    return (
        f"Ledger {book.opening.ledger}: {book.anchor.records} records, every hash right",
        f"  budget   epsilon {budget.epsilon:g} at delta {budget.delta:g}, {budget.neighboring.value}",
        "  rounds   " + ", ".join(f"{count} {state}" for state, count in counts.items()),
        f"  spent    {_said(book.guarantee(Against.SERVER))} against the server and its colluders",
        f"           {_said(book.guarantee(Against.PUBLISHED))} against who sees only what is published",
        f"  verdict  {'within the budget' if book.within_budget else 'NOT within the budget'}",
        f"  anchor   {book.anchor.records}:{book.anchor.head}",
    )


def _said(guarantee: Guarantee) -> str:
    return f"epsilon {guarantee.epsilon:.4f} ({guarantee.accountant})"


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the ledger's own file, without .head")
    parser.add_argument("--anchor", metavar="N:HEAD", help="where the ledger stood once")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


VERB: Final = Verb(
    name="ledger",
    summary="recompute a privacy ledger: its hashes, its rounds, and what they cost",
    description="Recompute a privacy ledger from its lines, and say what its rounds cost.",
    epilog=_EPILOG,
    options=_options,
    run=run,
)
