"""Providers in the order in which they are tried, each with a circuit breaker: one that keeps failing is left alone.

closed -> open after `failures_max` failures in a row -> after `open_s` one call is let through -> closed again, or open
for twice as long, up to `open_max_s`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    failures_max: int
    open_s: float

    @property
    def open_max_s(self) -> float:
        return 10 * self.open_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """since_mono_s: open or closed since then; failures: in a row; why: the last of them."""

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
        """The voice of the provider that would be asked first now."""
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
            try:
                with each.breaker.call():
                    return each.provider.synthesize(text)
            except TextNotSpeakable as error:
                failures.append(ProviderFailed(each.provider.name, str(error)))
            except ProviderFailed as error:
                failures.append(error)
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
            try:
                with each.breaker.call():
                    return each.provider.recognize(pcm, phrases)
            except ProviderFailed as error:
                failures.append(error)
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
        self._since = clock()
        self._open_s = 0.0  # 0: closed
        self._trial_due = 0.0
        self._has_trial = False

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

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call, to learn how it ends. Raises ProviderFailed instead while the provider is left alone."""
        is_trial = self._admit()
        try:
            yield
        except ProviderFailed as error:
            self._failed(error, is_trial)
            raise
        except NotUnderstood:
            # It did its work; the speaker is asked again.
            self._worked(is_trial)
            raise
        else:
            self._worked(is_trial)
        finally:
            # However it ended: text that has no sound says nothing of the provider, and a bug must not lock it out.
            if is_trial:
                self._has_trial = False

    def _admit(self) -> bool:
        """Whether this call is the one that finds out if it works again."""
        with self._lock:
            if not self._open_s:
                return False
            now = self._clock()
            if self._has_trial or now < self._trial_due:
                raise ProviderFailed(self._name, f"left alone for {now - self._since:.0f} s: {self._why}")
            self._has_trial = True
            return True

    def _worked(self, is_trial: bool) -> None:
        with self._lock:
            if self._open_s and not is_trial:
                return  # a call from before it opened
            self._failures, self._why = 0, ""
            if is_trial:
                self._open_s, self._since = 0.0, self._clock()
        if is_trial:
            self._on_change(self._name, True, "")

    def _failed(self, error: ProviderFailed, is_trial: bool) -> None:
        with self._lock:
            was_open = self._open_s > 0
            if was_open and not is_trial:
                return  # a call from before it opened
            self._failures, self._why = self._failures + 1, str(error)
            is_open = is_trial or self._failures >= self._rules.failures_max
            if is_open:
                now = self._clock()
                self._open_s = min(2 * self._open_s or self._rules.open_s, self._rules.open_max_s)
                self._trial_due = now + self._open_s
                self._since = self._since if was_open else now
        if is_open and not was_open:
            self._on_change(self._name, False, str(error))
