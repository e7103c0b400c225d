"""Fine-tuning: what weights a training starts from, which parts of them are begun anew, and which are frozen when."""

from ankleseg.finetuning.beginning import begin
from ankleseg.finetuning.matching import Fit, fit_of
from ankleseg.finetuning.schedule import FreezeSchedule, Step, steps_of
from ankleseg.finetuning.source import Source, describe_source, file_of, find_source, read_source
from ankleseg.finetuning.surgery import begin_anew

__all__ = [
    "Fit",
    "FreezeSchedule",
    "Source",
    "Step",
    "begin",
    "begin_anew",
    "describe_source",
    "file_of",
    "find_source",
    "fit_of",
    "read_source",
    "steps_of",
]
