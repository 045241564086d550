"""ONNX classifiers, one batcher for all cameras, and the rules that turn scores into sightings and decisions."""

from inference.batcher import Batcher, Prediction
from inference.decisions import Ask, Book, Decision, Ignore, Watcher
from inference.model import Model
from inference.sightings import Rules, Score, Sighting

__all__ = [
    "Ask",
    "Batcher",
    "Book",
    "Decision",
    "Ignore",
    "Model",
    "Prediction",
    "Rules",
    "Score",
    "Sighting",
    "Watcher",
]
