"""The ledger: postings per second durable on disk, the latency of a poll while bookings are written, memory.

    python -m bench.ledger [--seconds 10] [--rounds 3] [--folder DIR] [--out DIR]

Writes ledger.md and ledger.json into OUT. What is measured and how: bench/README.md.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import sqlalchemy as sa

from bench.measure import pss_mib, quantile
from bench.scenes import ROOT
from daemon.app import serving
from daemon.config import Settings, load
from daemon.domain.catalogue import Candidates, Item
from daemon.domain.facts import Fact, Score
from daemon.domain.sighting import Observation, Outcome
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.feed import Feed
from daemon.health import Health
from daemon.services.observe import observe
from daemon.services.telling import Telling
from daemon.storage import migrate
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine
from tests import rules

ASSETS = ROOT / "daemon" / "demo_assets"
CLIENTS = 16
POLL_S = 0.2
BOOKING_S = 0.1
ALREADY_BOOKED = 100
MANY = 10_000
DEADLINE_S = 600.0
T0 = datetime(2026, 4, 21, 2, 30, tzinfo=UTC)
ITEMS = [Item(item_id=f"HC{n:03}", item_name=f"耗材{n:03}") for n in range(50)]
CANDIDATES = Candidates(by_label={item.item_name: item for item in ITEMS})
RULES = rules.observing(evidence=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """Postings a second, one after the other, each on the disk before the next. All in the same minute."""

    naive: float
    ledger: float
    ledger_and_log: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    polls: int
    bookings: int
    p50_ms: float
    p99_ms: float
    max_ms: float


async def durable(folder: Path, seconds: float) -> Durable:
    return Durable(
        naive=_naive(folder / "naive.db", seconds),
        ledger=await _ours(folder / "bare", seconds, with_log=False),
        ledger_and_log=await _ours(folder / "logged", seconds, with_log=True),
    )


def _naive(path: Path, seconds: float) -> float:
    """One table, one INSERT and COMMIT each: the least that a durable posting can cost with SQLite."""
    ledger = sqlite3.connect(path, isolation_level=None)
    ledger.execute("PRAGMA journal_mode=WAL")
    ledger.execute("PRAGMA synchronous=FULL")
    ledger.execute("CREATE TABLE postings (id TEXT PRIMARY KEY, item_id TEXT, item_name TEXT, qty INTEGER, at TEXT)")
    count, begin_mono_s = 0, time.monotonic()
    while time.monotonic() < begin_mono_s + seconds:
        item = ITEMS[count % len(ITEMS)]
        row = (str(uuid4()), item.item_id, item.item_name, 1, T0.isoformat())
        ledger.execute("BEGIN IMMEDIATE")
        ledger.execute("INSERT INTO postings VALUES (?, ?, ?, ?, ?)", row)
        ledger.execute("COMMIT")
        count += 1
    rate = count / (time.monotonic() - begin_mono_s)
    ledger.close()
    return rate


async def _ours(folder: Path, seconds: float, *, with_log: bool) -> float:
    """The daemon's own verb: sighting, posting and outbox row in one transaction; with_log, the log's files, too."""

    async def nobody(_facts: list[Fact]) -> None: ...

    migrate.ensure(folder / "ledger.db")
    engine = open_engine(folder / "ledger.db")
    telling = Telling(ConsumptionLog(folder / "log", UTC), Feed[Fact](), Health())
    unit = Unit(engine, telling if with_log else nobody)
    telling.read_from(unit)
    run = await _running(unit)
    count, begin_mono_s = 0, time.monotonic()
    while time.monotonic() < begin_mono_s + seconds:
        await observe(unit, run, CANDIDATES, _seen(count), RULES, T0)
        count += 1
    rate = count / (time.monotonic() - begin_mono_s)
    await engine.dispose()
    return rate


async def polled(address: str, seconds: float) -> list[float]:
    """Milliseconds of each `GET result` of all clients."""
    until_mono_s = time.monotonic() + seconds

    async def client(number: int) -> list[float]:
        found = []
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=DEADLINE_S, trust_env=False) as http:
            await asyncio.sleep(POLL_S * number / CLIENTS)
            while time.monotonic() < until_mono_s:
                begin_mono_s = time.monotonic()
                answer = await http.get("/client/surgeries/100001/result")
                found.append(1000 * (time.monotonic() - begin_mono_s))
                answer.raise_for_status()
                await asyncio.sleep(POLL_S)
        return found

    return [each for found in await asyncio.gather(*(client(n) for n in range(CLIENTS))) for each in found]


def latency(folder: Path, seconds: float) -> Polled:
    with _daemon(folder, postings=ALREADY_BOOKED, books=True) as (_, address):
        before = _postings(folder)
        found = asyncio.run(polled(address, seconds))
        bookings = _postings(folder) - before
    found_ms = [quantile(found, q) or 0.0 for q in (0.5, 0.99, 1.0)]
    return Polled(polls=len(found), bookings=bookings, p50_ms=found_ms[0], p99_ms=found_ms[1], max_ms=found_ms[2])


def memory_mib(folder: Path, postings: int) -> tuple[float, float]:
    """PSS of a daemon with a running surgery of so many postings: when it is up, and after results were read."""
    with _daemon(folder, postings=postings, books=False) as (process, address):
        up = pss_mib(process.pid)
        for _ in range(5):
            httpx.get(f"http://{address}/client/surgeries/100001/result", timeout=DEADLINE_S, trust_env=False)
        return up, pss_mib(process.pid)


@contextmanager
def _daemon(folder: Path, *, postings: int, books: bool) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A whole daemon, in a process of its own, on a ledger that holds so much already."""
    asyncio.run(_fill(folder, postings))
    command = [sys.executable, "-m", "bench.ledger", "--serve", str(folder), *(["--books"] if books else [])]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _fill(folder: Path, postings: int) -> None:
    async def nobody(_facts: list[Fact]) -> None: ...

    ledger = _settings(folder).database.ledger
    migrate.ensure(ledger)
    engine = open_engine(ledger)
    # What is only made here need not be durable.
    sa.event.listen(engine.sync_engine, "connect", lambda made, _: made.cursor().execute("PRAGMA synchronous=OFF"))
    unit = Unit(engine, nobody)
    run = await _running(unit)
    for number in range(postings):
        await observe(unit, run, CANDIDATES, _seen(number), RULES, T0)
    await engine.dispose()


async def serve(folder: Path, *, books: bool) -> None:
    """The child: says its address, then books until it is killed."""
    async with serving(_settings(folder)) as (parts, address):
        unit = parts.context.unit
        async with unit.read() as tx:
            run = await tx.surgeries.latest("100001")
        assert run is not None
        print(address, flush=True)
        number = 1_000_000
        while True:
            await asyncio.sleep(BOOKING_S)
            if books:
                number += 1
                await observe(unit, run, CANDIDATES, _seen(number), RULES, datetime.now(UTC))


def _settings(folder: Path) -> Settings:
    return load(
        None,
        {
            "server": {"port": 0, "rate_per_minute": 1_000_000},
            "database": {"ledger": str(folder / "ledger.db")},
            "logs": {"folder": str(folder / "log"), "level": "ERROR"},
            "objects": {"folder": str(folder / "objects"), "spool": str(folder / "spool")},
            "model": {"path": str(ASSETS / "consumables.onnx"), "device": "cpu"},
            "cameras": {"bench": {"url": str(ASSETS / "none.mp4")}},
        },
    )


async def _running(unit: Unit) -> Surgery:
    run = Surgery(
        id=uuid4(),
        surgery_id="100001",
        state=SurgeryState.RUNNING,
        cameras=("bench",),
        candidates=(),
        started_at=T0,
    )
    async with unit.begin() as tx:
        await tx.surgeries.save(run)
    return run


def _seen(number: int) -> Observation:
    label = ITEMS[number % len(ITEMS)].item_name
    return Observation(
        camera="bench",
        label=label,
        started_at=T0 + timedelta(seconds=10 * number),
        peak=0.97,
        top=(Score(label=label, score=0.97), Score(label="背景", score=0.02)),
        outcome=Outcome.BOOKED,
    )


def _postings(folder: Path) -> int:
    ledger = sqlite3.connect(folder / "ledger.db")
    count = ledger.execute("SELECT count(*) FROM postings").fetchone()[0]
    ledger.close()
    return int(count)


def main() -> int:
    arguments = _arguments()
    if arguments.serve:
        asyncio.run(serve(arguments.serve, books=arguments.books))
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="orwatch-bench-", dir=arguments.folder) as temporary:
        folder = Path(temporary)
        rates = []
        for number in range(arguments.rounds):
            (folder / f"rate-{number}").mkdir()
            rates.append(asyncio.run(durable(folder / f"rate-{number}", arguments.seconds)))
            print(f"round {number + 1}: {rates[-1]}", flush=True)
        rate = Durable(
            naive=statistics.median(each.naive for each in rates),
            ledger=statistics.median(each.ledger for each in rates),
            ledger_and_log=statistics.median(each.ledger_and_log for each in rates),
        )
        polls = latency(folder / "latency", 3 * arguments.seconds)
        print(polls, flush=True)
        memory = {count: memory_mib(folder / f"memory-{count}", count) for count in (0, MANY)}
    content = {"load_before": os.getloadavg()[0], "durable": asdict(rate), "polled": asdict(polls), "memory": memory}
    (out / "ledger.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    page = _page(rate, polls, memory)
    (out / "ledger.md").write_text(page, encoding="utf-8")
    print(page)
    return 0


def _page(rate: Durable, polls: Polled, memory: dict[int, tuple[float, float]]) -> str:
    rows = {
        "naive loop: INSERT and COMMIT": rate.naive,
        "orwatch, ledger (sighting, posting, outbox)": rate.ledger,
        "orwatch, ledger and consumption log": rate.ledger_and_log,
    }
    (empty, empty_read), (full, full_read) = memory[0], memory[MANY]
    return (
        "# The ledger\n\n"
        "| one posting after the other, each durable | per second | of the naive loop |\n|---|---:|---:|\n"
        + "".join(f"| {name} | {each:.0f} | {each / rate.naive:.0%} |\n" for name, each in rows.items())
        + f"\n`GET result` of {CLIENTS} clients every {POLL_S:g} s, {polls.polls} polls while {polls.bookings} "
        f"bookings were written: p50 {polls.p50_ms:.1f} ms, p99 {polls.p99_ms:.1f} ms, worst {polls.max_ms:.1f} ms.\n"
        f"\nPSS of a daemon with a running surgery: {empty:.0f} MiB empty, {full:.0f} MiB with {MANY} postings; after "
        f"five results were read {empty_read:.0f} and {full_read:.0f} MiB.\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured, default the temporary folder")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--books", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
