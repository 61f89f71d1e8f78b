"""What happens around training and testing; one callback, one file."""

from .best_checkpoint import BestCheckpoint
from .clamp_monitor import ClampMonitor
from .delays import DelayAnnealing
from .energy_monitor import EnergyMonitor
from .eventprop_monitor import EventPropMonitor
from .firing_rate import FiringRate
from .last_checkpoint import LastCheckpoint
from .plots import Plots
from .predictions import PredictionWriter
from .revive import ReviveSilent

__all__ = [
    "BestCheckpoint",
    "ClampMonitor",
    "DelayAnnealing",
    "EnergyMonitor",
    "EventPropMonitor",
    "FiringRate",
    "LastCheckpoint",
    "Plots",
    "PredictionWriter",
    "ReviveSilent",
]
