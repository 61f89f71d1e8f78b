"""What happens around training and testing; one callback, one file."""

from .delays import DelayAnnealing
from .energy_monitor import EnergyMonitor
from .firing_rate import FiringRate
from .plots import Plots
from .predictions import PredictionWriter

__all__ = ["DelayAnnealing", "EnergyMonitor", "FiringRate", "Plots", "PredictionWriter"]
