"""Runs the contract suite against an adapter that is already built, such as a live library's.

Nothing here knows an adapter or prints. Rules: pytest runs in this process without any settings or
plugins of its surroundings; everything that the suite made is removed again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from connector.ports.ils import IlsAdapter
from connector.testing.contract_seed import AdapterSeed, Seed

__all__ = ["CheckResult", "run_contract"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What became of one test.

    Attributes:
        name: what the adapter should do, in words.
        outcome: ``passed``, ``failed`` or ``skipped``.
        detail: why it failed or was skipped; one line.
    """

    name: str
    outcome: str
    detail: str = ""


class _LivePlugin:
    """Gives the suite its adapter, and collects what became of each test."""

    def __init__(
        self, adapter: IlsAdapter, seed: Seed, report: Callable[[CheckResult], None]
    ) -> None:
        self._adapter = adapter
        self._seed = seed
        self._report = report

    @pytest.fixture
    def live_adapter(self) -> IlsAdapter:
        """The adapter."""
        return self._adapter

    @pytest.fixture
    def live_seed(self) -> Iterator[Seed]:
        """Throw-away patrons and items."""
        yield self._seed
        self._seed.clean()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of the call, or of a preparation that went wrong."""
        if report.when == "call" or not report.passed:
            self._report(CheckResult(_words_of(report.nodeid), report.outcome, _why(report)))


def _words_of(nodeid: str) -> str:
    return nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")


def _why(report: pytest.TestReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    lines = report.longreprtext.splitlines() if report.failed else []
    said = [line[1:].strip() for line in lines if line.startswith("E ")]
    return said[0] if said else ""


def run_contract(
    adapter: IlsAdapter,
    *,
    seed: Seed | None = None,
    report: Callable[[CheckResult], None] = lambda _: None,
    only: str = "",
) -> Sequence[CheckResult]:
    """Run the suite and return what became of each test.

    Args:
        seed: how patrons and items are made; by default through the adapter with common codes.
        report: called after each test.
        only: a pytest ``-k`` expression.
    """
    results: list[CheckResult] = []

    def keep(result: CheckResult) -> None:
        results.append(result)
        report(result)

    with tempfile.TemporaryDirectory() as folder:
        pytest.main(
            [
                *("--pyargs", "connector.testing.live_suite"),
                *("-c", os.devnull, "--rootdir", folder, "-k", only),
                *("--disable-plugin-autoload", "-p", "connector.testing.pytest_plugin"),
                *("-s", "-p", "no:terminal", "-p", "no:cacheprovider"),
            ],
            plugins=[_LivePlugin(adapter, seed or AdapterSeed(adapter), keep)],
        )
    return results
