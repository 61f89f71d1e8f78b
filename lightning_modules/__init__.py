"""LightningModules: how a network is trained, with a teacher or without."""

from .classification import ClassificationModule
from .distillation import DistillationModule
from .language_modelling import LanguageModule
from .place_recognition import PlacesModule

__all__ = ["ClassificationModule", "DistillationModule", "LanguageModule", "PlacesModule"]
