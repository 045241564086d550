"""Who reads the ledger and answers the questions while the program is killed; she forgets nothing that she was told."""

import contextlib
import json
import threading
from collections import Counter
from typing import Any

import httpx

from tests.journeys.program import Program, select_nothing

DOCTOR = "N2001"


class Nurse:
    def __init__(self, orwatch: Program) -> None:
        self._orwatch = orwatch
        self._postings: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._acknowledged: set[str] = set()
        self.pending: list[str] = []
        self._cut_off: list[str] = []

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
            assert is_answered or (state == "pending" and key not in self._acknowledged), question
            assert times[key] == is_answered, f"booked {times[key]} times: {question}"
        self.pending = [key for key, question in questions.items() if question["state"] == "pending"]

    def answers(self, key: str) -> None:
        assert self._choose(key).status_code == 200
        self._acknowledged.add(key)
        self.reads()

    def is_killed_while_she_answers(self, key: str, *, after_s: float) -> None:
        """The answer may be booked or not, and she may have been told or not; told and not booked is a loss."""

        def answer() -> None:
            with contextlib.suppress(httpx.TransportError):
                if self._choose(key).status_code == 200:
                    self._acknowledged.add(key)

        answering = threading.Thread(target=answer, name="nurse")
        answering.start()
        select_nothing(after_s)
        self._orwatch.kill()
        answering.join(30)
        assert not answering.is_alive()
        if key not in self._acknowledged:
            self._cut_off.append(key)

    def _choose(self, key: str) -> httpx.Response:
        self._said[key] = json.loads(self.asked[key])[0][0]["label"]
        return self._orwatch.client.post(
            f"/client/surgeries/123456/pending-confirmation/{key}/choose",
            json={"label": self._said[key], "doctor_id": DOCTOR},
        )
