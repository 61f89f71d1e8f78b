"""LightningModules: how a network is trained, with a teacher or without."""

from .classification import ClassificationModule
from .distillation import DistillationModule
from .language import LanguageModule

__all__ = ["ClassificationModule", "DistillationModule", "LanguageModule"]
