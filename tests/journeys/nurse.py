"""Who reads the ledger and answers the questions while the program is killed; she forgets nothing that she was told."""

import contextlib
import json
import socket
from collections import Counter
from typing import Any

from tests.journeys.program import Program
from tests.servers.proxy import FaultProxy
from tests.waiting import DEADLINE_S

DOCTOR = "N2001"
# When the program is killed while she answers: half of what she says has come, all of it, or its own answer is made.
MOMENTS = ("half", "asked", "answered")


class Nurse:
    def __init__(self, orwatch: Program) -> None:
        self._orwatch = orwatch
        self._postings: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._acknowledged: set[str] = set()
        self.pending: list[str] = []
        self._cut_off: list[str] = []
        self._booked_unheard: set[str] = set()

    @property
    def knows(self) -> int:
        """How many postings and questions she has read of."""
        return len(self._postings) + len(self.asked)

    def __str__(self) -> str:
        untold = set(self._cut_off) - self._acknowledged - set(self.pending)
        return (
            f"{len(self._postings)} postings, {len(self.asked)} questions, {len(self._acknowledged)} answers "
            f"acknowledged; {len(self._cut_off)} answers cut off, {len(untold)} of them booked all the same"
        )

    def reads(self) -> None:
        """All that she knew must be there, word for word; a question is open, or answered as she answered it."""
        overview = self._orwatch.client.get("/client/surgeries/123456").json()["questions"]
        # After the questions: what one of them rests on is there by then.
        rows = self._orwatch.client.get("/client/surgeries/123456/ledger").json()["postings"]
        postings = {row["posting_id"]: row for row in rows}
        for posting_id, before in self._postings.items():
            now = postings.get(posting_id)
            assert now is not None, f"lost: {before}"
            assert now == {**before, "voided_by": before["voided_by"] or now["voided_by"]}
        self._postings = postings
        questions = {question["confirmation_id"]: question for question in overview}
        assert len(questions) == len(overview)
        asked = {key: json.dumps([each["options"], each["created_at"]]) for key, each in questions.items()}
        assert self.asked.items() <= asked.items(), f"lost: {set(self.asked) - set(asked)}"
        self.asked = asked
        placeholders = {row["sighting_id"]: row["posting_id"] for row in rows if row["kind"] == "placeholder"}
        assert len(placeholders) == sum(row["kind"] == "placeholder" for row in rows) >= len(questions)
        settling = [row for row in rows if row["confirmation_id"]]
        assert all(row["voids"] == placeholders[row["sighting_id"]] for row in settling)
        times = Counter(row["confirmation_id"] for row in settling)
        for key, question in questions.items():
            state, label, by = question["state"], question["resolved_label"], question["settled_by"]
            is_answered = (state, label, by) == ("confirmed", self._said.get(key), DOCTOR)
            known = self._acknowledged | self._booked_unheard
            assert is_answered or (state == "pending" and key not in known), question
            assert times[key] == is_answered, f"booked {times[key]} times: {question}"
        self.pending = [key for key, question in questions.items() if question["state"] == "pending"]

    def answers(self, key: str) -> None:
        path, body = self._choice(key)
        assert self._orwatch.client.post(path, json=body).status_code == 200
        self._acknowledged.add(key)
        self.reads()

    def is_killed_while_she_answers(self, key: str, moment: str) -> None:
        """The answer may be booked or not, and she is not told; where an answer to her was made, it is booked."""
        path, body = self._choice(key)
        said = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: orwatch\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(said)}\r\n\r\n".encode() + said
        with FaultProxy(self._orwatch.port) as proxy:

            def die() -> None:
                self._orwatch.kill()
                proxy.refuse()

            if moment == "answered":
                proxy.at_answer(die)
                self._booked_unheard.add(key)
            else:
                proxy.at(len(request) // 2 if moment == "half" else len(request), die)
            with socket.create_connection(("127.0.0.1", proxy.port), DEADLINE_S) as line:
                line.sendall(request)
                heard = b""
                with contextlib.suppress(ConnectionResetError):
                    heard = line.recv(4096)
        assert heard == b"", "she was told"
        self._cut_off.append(key)

    def _choice(self, key: str) -> tuple[str, dict[str, str]]:
        self._said[key] = json.loads(self.asked[key])[0][0]["label"]
        path = f"/client/surgeries/123456/pending-confirmation/{key}/choose"
        return path, {"label": self._said[key], "doctor_id": DOCTOR}
