"""What happens around training and testing; one callback, one file."""

from .best_checkpoint import BestCheckpoint
from .clamp_monitor import ClampMonitor
from .delay_annealing import DelayAnnealing
from .ema import EMA
from .energy_monitor import EnergyMonitor
from .eventprop_monitor import EventPropMonitor
from .firing_rate import FiringRate
from .grow_steps import GrowSteps
from .last_checkpoint import LastCheckpoint
from .plots import Plots
from .predictions import PredictionWriter
from .recalibrate_norms import RecalibrateNorms
from .revive import ReviveSilent
from .whiten_stem import WhitenStem

__all__ = [
    "EMA",
    "BestCheckpoint",
    "ClampMonitor",
    "DelayAnnealing",
    "EnergyMonitor",
    "EventPropMonitor",
    "FiringRate",
    "GrowSteps",
    "LastCheckpoint",
    "Plots",
    "PredictionWriter",
    "RecalibrateNorms",
    "ReviveSilent",
    "WhitenStem",
]
