"""Training a place recogniser."""

from typing import Any

from .classification import ClassificationModule
from .tasks.places import Places


class PlacesModule(ClassificationModule):
    """`ClassificationModule` of places: `test/recall_at_N`, N = 1, 5, 10, 15, 20, 25, within the tolerance of the data.

    Recall@1 with a tolerance of 0 is the accuracy.

    Raises:
        ValueError: If the data have no places (use `PlacesDataModule`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, task=Places(), **kwargs)  # type: ignore[misc]  # task is the last argument
