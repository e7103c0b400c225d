"""From patches to whole volumes, on the grid of the input file."""

from ankleseg.predict.checkpoint import Model, build_network, find_checkpoint, load_model, read_checkpoint, recipe
from ankleseg.predict.inputs import cases_of
from ankleseg.predict.postprocessing import Postprocessing, label_map
from ankleseg.predict.run import predict_case, predict_cases
from ankleseg.predict.volume import WholeVolume, probabilities_of

__all__ = [
    "Model",
    "Postprocessing",
    "WholeVolume",
    "build_network",
    "cases_of",
    "find_checkpoint",
    "label_map",
    "load_model",
    "predict_case",
    "predict_cases",
    "probabilities_of",
    "read_checkpoint",
    "recipe",
]
