"""The terms of the training loss; one objective, one file.

Everything named here can be a `class_path` of a recipe.
"""

from .base import Objective
from .bkd import BKD
from .cross_entropy import CrossEntropy
from .feature_mse import FeatureMSE
from .first_spike import FirstSpike
from .logit_kd import LogitKD
from .max_cross_entropy import MaxCrossEntropy
from .next_token import NextToken
from .per_step import PerStep
from .rate_mse import RateMSE
from .shaped_cross_entropy import ShapedCrossEntropy
from .tet import TET
from .wsld import WSLD

__all__ = [
    "BKD",
    "TET",
    "WSLD",
    "CrossEntropy",
    "FeatureMSE",
    "FirstSpike",
    "LogitKD",
    "MaxCrossEntropy",
    "NextToken",
    "Objective",
    "PerStep",
    "RateMSE",
    "ShapedCrossEntropy",
]
