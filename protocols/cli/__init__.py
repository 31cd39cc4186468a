"""The command line `secagg`: a demonstration, calculators of plans and budgets, a check of the installation.

Promise: nothing that is typed ends in a traceback. What is wrong with a setting is one line on stderr that names the
fix. One file a verb; each describes itself in a `Verb`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from dp import ParameterError, PrivacyError
from protocols.budget import BudgetError
from protocols.cli import budget, demo, doctor, ledger, plan
from protocols.cli.words import EXIT_CODES, FAILED, INTERRUPTED, UNREAD, WRONG, MissingExtra
from protocols.demo.task import SettingError
from protocols.errors import ProtocolError
from secagg import ConfigError, SecAggError

_VERBS: Final = (demo.VERB, plan.VERB, budget.VERB, ledger.VERB, doctor.VERB)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: what was typed after the program's name; that of this process unless given.

    Raises:
        SystemExit: from argparse, with code 2 where the arguments do not parse, and 0 after --help and --version.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return UNREAD
    except (ConfigError, SettingError, BudgetError, ParameterError, MissingExtra) as error:
        return _complain(options.verb, error, WRONG)
    except (SecAggError, ProtocolError, PrivacyError) as error:
        return _complain(options.verb, error, FAILED)
    except OSError as error:  # the disk behind stdout is full, a file of the package cannot be read
        _forget_stdout()
        return _complain(options.verb, error, FAILED)
    return code


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="secagg",
        description="Secure aggregation: a server learns the sum of its clients' updates and nothing else.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = importlib.metadata.version("secagg")
    parser.add_argument("--version", action="version", version=f"secagg {version}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    for verb in _VERBS:
        options = verbs.add_parser(
            verb.name,
            help=verb.summary,
            description=verb.description,
            epilog=f"{verb.epilog}\n\n{EXIT_CODES}".lstrip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.options(options)
        options.set_defaults(run=verb.run)
    return parser


def _complain(verb: str, error: Exception, code: int) -> int:
    """Say what went wrong in one line, whatever the text is made of."""
    print(f"secagg {verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _forget_stdout() -> None:
    """Let nothing that is still buffered be written again when Python exits: it would fail again, in a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
