"""Providers in the order in which they are tried, each with a circuit breaker: one that keeps failing is left alone.

closed -> open after `failures_max` failures in a row -> after `open_s` one call is let through -> closed again, or open
for twice as long, up to `open_max_s`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Generic, Protocol, TypeVar

import numpy as np

from speech.errors import AllFailed, NothingConfigured, NotUnderstood, ProviderFailed, TextEmpty, TextNotSpeakable
from speech.provider import Heard, Recognizer, Spoken, Synthesizer

# name, whether it works, why not. Called from the thread that made the call.
OnChange = Callable[[str, bool, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    failures_max: int = 3
    open_s: float = 30.0
    open_max_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """since_mono_s: of the last change; failures: in a row; why: the last of them."""

    name: str
    is_open: bool
    since_mono_s: float
    failures: int
    why: str


class Voice:
    """Thread-safe."""

    def __init__(
        self,
        synthesizers: Sequence[Synthesizer],
        rules: BreakerRules,
        *,
        on_change: OnChange,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guarded = [_Guarded(each, _Breaker(each.name, rules, on_change, clock)) for each in synthesizers]

    @property
    def voice(self) -> str:
        """Of the provider that would be asked first now."""
        willing = next((each for each in self._guarded if not each.breaker.state.is_open), None)
        return willing.provider.voice if willing else ""

    def speak(self, text: str) -> Spoken:
        """Raises TextEmpty, NothingConfigured, AllFailed."""
        if not text.strip():
            raise TextEmpty("there is nothing to say")
        if not self._guarded:
            raise NothingConfigured("speech.tts is empty")
        failures: list[ProviderFailed] = []
        for each in self._guarded:
            if (refused := each.breaker.refusal()) is not None:
                failures.append(refused)
                continue
            try:
                spoken = each.provider.synthesize(text)
            except TextNotSpeakable as error:
                each.breaker.worked()
                failures.append(ProviderFailed(each.provider.name, str(error)))
            except ProviderFailed as error:
                each.breaker.failed(error)
                failures.append(error)
            else:
                each.breaker.worked()
                return spoken
        raise AllFailed(failures)

    def states(self) -> tuple[ProviderState, ...]:
        return tuple(each.breaker.state for each in self._guarded)


class Ear:
    """Thread-safe."""

    def __init__(
        self,
        recognizers: Sequence[Recognizer],
        rules: BreakerRules,
        *,
        on_change: OnChange,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guarded = [_Guarded(each, _Breaker(each.name, rules, on_change, clock)) for each in recognizers]

    def hear(self, pcm: np.ndarray, phrases: Sequence[str]) -> Heard:
        """Raises NotUnderstood, NothingConfigured, AllFailed."""
        if not self._guarded:
            raise NothingConfigured("speech.asr is empty")
        failures: list[ProviderFailed] = []
        for each in self._guarded:
            if (refused := each.breaker.refusal()) is not None:
                failures.append(refused)
                continue
            try:
                heard = each.provider.recognize(pcm, phrases)
            except NotUnderstood:
                # It did its work; the speaker is asked again.
                each.breaker.worked()
                raise
            except ProviderFailed as error:
                each.breaker.failed(error)
                failures.append(error)
            else:
                each.breaker.worked()
                return heard
        raise AllFailed(failures)

    def states(self) -> tuple[ProviderState, ...]:
        return tuple(each.breaker.state for each in self._guarded)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


P = TypeVar("P", bound=_Named)


@dataclass(frozen=True, slots=True)
class _Guarded(Generic[P]):
    provider: P
    breaker: "_Breaker"


class _Breaker:
    def __init__(self, name: str, rules: BreakerRules, on_change: OnChange, clock: Callable[[], float]) -> None:
        self._name = name
        self._rules = rules
        self._on_change = on_change
        self._clock = clock
        self._lock = Lock()
        self._failures = 0
        self._why = ""
        self._open_s = 0.0  # 0: closed
        self._since = clock()
        self._is_tried = False

    @property
    def state(self) -> ProviderState:
        with self._lock:
            return ProviderState(
                name=self._name,
                is_open=self._open_s > 0,
                since_mono_s=self._since,
                failures=self._failures,
                why=self._why,
            )

    def refusal(self) -> ProviderFailed | None:
        """None: the call may be made, and must be followed by `worked` or `failed`."""
        with self._lock:
            if not self._open_s:
                return None
            waited_s = self._clock() - self._since
            if waited_s >= self._open_s and not self._is_tried:
                self._is_tried = True
                return None
            return ProviderFailed(self._name, f"left alone since {waited_s:.0f} s: {self._why}")

    def worked(self) -> None:
        with self._lock:
            was_open = self._open_s > 0
            self._failures, self._why, self._is_tried = 0, "", False
            if was_open:
                self._open_s, self._since = 0.0, self._clock()
        if was_open:
            self._on_change(self._name, True, "")

    def failed(self, error: ProviderFailed) -> None:
        with self._lock:
            was_open = self._open_s > 0
            self._failures, self._why = self._failures + 1, str(error)
            if was_open and not self._is_tried:
                return  # a call from before it opened
            if was_open or self._failures >= self._rules.failures_max:
                self._open_s = min(2 * self._open_s or self._rules.open_s, self._rules.open_max_s)
                self._since, self._is_tried = self._clock(), False
            opened = not was_open and self._open_s > 0
        if opened:
            self._on_change(self._name, False, str(error))
