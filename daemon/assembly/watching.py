"""From cameras to the ledger: the pipeline, and those whom it tells what it sees."""

from daemon.assembly import background_of, batcher_of, observe_rules_of, picture_of, rules_of, sight_rules_of, source_of
from daemon.config import Settings
from daemon.health import Health
from daemon.metrics import Metrics
from daemon.pipeline.evidence import Evidence
from daemon.pipeline.pipeline import Pipeline
from daemon.services.watching import Observations
from daemon.storage.database import Unit
from inference.model import Model


def pipeline_of(
    settings: Settings, model: Model, unit: Unit, evidence: Evidence | None, health: Health, metrics: Metrics
) -> Pipeline:
    take_evidence = evidence.take if evidence is not None else None
    observations = Observations(unit, observe_rules_of(settings), health, metrics, take_evidence)
    return Pipeline(
        {name: source_of(name, camera, settings, picture_of(model)) for name, camera in settings.cameras.items()},
        batcher_on=lambda on_prediction: batcher_of(model, on_prediction, settings),
        labels=model.labels,
        rules=rules_of(settings, background_of(settings, model)),
        observe=observations.observe,
        shows=observations.shows,
        note=observations.camera,
        health=health,
        metrics=metrics,
        sight=sight_rules_of(settings),
        evidence=evidence,
    )
