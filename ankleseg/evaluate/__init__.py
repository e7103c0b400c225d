"""Predictions against references: scores a case and structure, group summaries, protocols side by side, a report."""

from ankleseg.evaluate.evaluation import Evaluation
from ankleseg.evaluate.predictions import Predictions, find_protocols, read_predictions
from ankleseg.evaluate.run import evaluate
from ankleseg.evaluate.scores import Score
from ankleseg.evaluate.tables import compare_protocols, summarise

__all__ = [
    "Evaluation",
    "Predictions",
    "Score",
    "compare_protocols",
    "evaluate",
    "find_protocols",
    "read_predictions",
    "summarise",
]
