"""LightningModules: how a network is trained, with a teacher or without."""

from .classification import ClassificationModule
from .distillation import DistillationModule
from .tasks.places import PlacesModule
from .tasks.tokens import LanguageModule

__all__ = ["ClassificationModule", "DistillationModule", "LanguageModule", "PlacesModule"]
