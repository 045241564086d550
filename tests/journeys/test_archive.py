"""PostgreSQL goes away while a surgery runs and clients poll: only /health and /ready say so, nothing is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa

from daemon.storage import migrate
from daemon.storage.schema import metadata
from tests.journeys.program import ASSETS, Program
from tests.servers.postgres import Postgres, why_unavailable
from tests.servers.rtsp import RtspCamera
from tests.waiting import DEADLINE_S

# What may be answered while the archive is away: the seed lets /health, and with it /ready, say so.
ALLOWED = {
    "/health": {200, 503},
    "/ready": {200, 503},
    "/metrics": {200},
    "/client/surgeries": {200},
    "/client/surgeries/123456": {200},
    "/client/surgeries/123456/ledger": {200},
    "/client/surgeries/123456/report.tsv": {200},
    "/client/surgeries/123456/report.md": {200},
    # Until the first item is booked.
    "/client/surgeries/123456/result": {200, 503},
}


class Client:
    """Asks every route, again and again, in a thread of its own."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self.answers: dict[tuple[str, int], int] = {}
        self.wrong: list[str] = []
        self.slowest_s = 0.0
        self._rounds = 0
        self._went_round = threading.Condition()

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)

    def asks_all_again(self, times: int) -> None:
        """Until it has asked every route so many times more."""
        with self._went_round:
            wanted = self._rounds + times
            assert self._went_round.wait_for(lambda: self._rounds >= wanted, DEADLINE_S)

    def _poll(self) -> None:
        with httpx.Client(base_url=self._base_url, timeout=DEADLINE_S, trust_env=False) as client:
            while not self._stop.wait(0.05):
                for path, allowed in ALLOWED.items():
                    began = time.monotonic()
                    try:
                        answer = client.get(path)
                    except httpx.TransportError as error:
                        self.wrong.append(f"{path}: {error!r}")
                        continue
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                    key = (path, answer.status_code)
                    self.answers[key] = self.answers.get(key, 0) + 1
                    if answer.status_code not in allowed:
                        self.wrong.append(f"{path}: {answer.status_code} {answer.text[:300]}")
                with self._went_round:
                    self._rounds += 1
                    self._went_round.notify_all()


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    if reason := why_unavailable():
        pytest.skip(reason)
    with Postgres() as server:
        yield server


@pytest.mark.parametrize("outage_s", [0.0, pytest.param(60.0, marks=pytest.mark.soak)])
def test_an_outage_of_postgresql_is_felt_by_nobody_and_loses_nothing(
    outage_s: float,
    rtsp: Callable[..., RtspCamera],
    program: Callable[..., Program],
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The client asks without a pause, more often than any HIS may.
    monkeypatch.setenv("ORWATCH_SERVER__RATE_PER_MINUTE", "1000000")
    url = postgres.database(f"archive_{uuid4().hex[:12]}")
    camera = rtsp(ASSETS / "or-cam-01.mp4")
    orwatch = program(
        cameras={"or-cam-01": camera.url},
        more=f'[database]\nurl = "{url}"\n',
    )
    orwatch.until(lambda: bool((found := orwatch.component("archive")) and found["ok"]))
    assert orwatch.begin("123456", ["or-cam-01"]).status_code == 200
    with Client(str(orwatch.client.base_url)) as client:
        postgres.kill()
        orwatch.until(lambda: not (orwatch.component("archive") or {"ok": True})["ok"])
        before = facts(orwatch)
        orwatch.goes_on(outage_s)
        client.asks_all_again(10)
        orwatch.until(lambda: facts(orwatch) > before)
        assert orwatch.client.get("/health").status_code == 503
        assert orwatch.client.get("/ready").json()["archive_lag"]["facts"] > 0
        postgres.start()
        back_s = orwatch.until(lambda: orwatch.client.get("/health").status_code == 200)
    assert orwatch.end("123456").status_code == 200
    path = orwatch.folder / "var" / "ledger.db"
    # Its pictures and clips come last; after them no fact is made any more.
    orwatch.until(lambda: is_all_stored(rows(path)))
    orwatch.until(lambda: orwatch.client.get("/ready").json()["archive_lag"]["facts"] == 0)
    total = sum(client.answers.values())
    print(f"away {outage_s:g} s, {total} requests, slowest {client.slowest_s:.2f} s, {len(client.wrong)} wrong")
    print(f"archive back {back_s:.1f} s after PostgreSQL, {facts(orwatch)} rows of the ledger")
    assert client.wrong == []
    assert orwatch.stop() == 0
    ledger, archive = (rows(database) for database in (path, sa.make_url(url)))
    print({name: len(found) for name, found in ledger.items()})
    assert ledger["outbox"]
    assert archive == ledger
    assert "secret-of-the-test" not in orwatch.log.read_text()


def is_all_stored(ledger: dict[str, list[dict[str, Any]]]) -> bool:
    """A picture and a clip of each sighting that is booked or asked."""
    wanted = 2 * sum(row["outcome"] in ("booked", "asked") for row in ledger["sightings"])
    stored = [row for row in ledger["objects"] if row["state"] == "stored"]
    return len(stored) == wanted > 0


def facts(orwatch: Program) -> int:
    return len(orwatch.client.get("/client/surgeries/123456/ledger").json()["postings"])


def rows(database: migrate.Database) -> dict[str, list[dict[str, Any]]]:
    engine = sa.create_engine(migrate._url(database))
    found = {}
    with engine.connect() as connection:
        for name, table in metadata.tables.items():
            if name not in ("camera_holds", "in_view", "ledgers"):
                key = table.c.id if "id" in table.c else next(iter(table.primary_key))
                read = connection.execute(sa.select(table).order_by(key))
                found[name] = [{k: v for k, v in row._mapping.items() if k != "seq"} for row in read]
    engine.dispose()
    return found
