"""The terms of the training loss; one objective, one file.

Everything named here can be a `class_path` of a recipe.
"""

from .base import Objective
from .bkd import BKD
from .cross_entropy import CrossEntropy
from .feature_mse import FeatureMSE
from .logit_kd import LogitKD
from .per_step import PerStep
from .tet import TET
from .wsld import WSLD

__all__ = ["BKD", "TET", "WSLD", "CrossEntropy", "FeatureMSE", "LogitKD", "Objective", "PerStep"]
