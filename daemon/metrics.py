"""Prometheus metrics. Counters that others keep already are read from them at scrape time, not counted twice."""

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

# A series per counter that only says when the process began.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.result_age = Histogram(
            "orwatch_result_age_seconds",
            "From the capture of a frame to its scores",
            ["camera"],
            buckets=(0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2, 0.3, 0.4, 0.5),
            registry=self.registry,
        )
        self.observations = Counter(
            "orwatch_observations_total",
            "Sightings settled, by what became of them",
            ["outcome", "reason"],
            registry=self.registry,
        )
        self.answers = Counter(
            "orwatch_voice_answers_total",
            "Answers by voice, by who heard them and what was made of them",
            ["provider", "outcome"],
            registry=self.registry,
        )

    def read_from(self, readings: Callable[[], Iterable[Metric]]) -> None:
        """Ask `readings` at each scrape."""
        self.registry.register(_Readings(readings))

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


class _Readings(Collector):
    def __init__(self, readings: Callable[[], Iterable[Metric]]) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        return self._readings()


def counter(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def gauge(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family
