"""LightningModules: how a network is trained, with a teacher or without."""

from .classification import ClassificationModule
from .distillation import DistillationModule
from .language import LanguageModule
from .places import PlacesModule

__all__ = ["ClassificationModule", "DistillationModule", "LanguageModule", "PlacesModule"]
