"""Place recognition: a class is a place, and an answer is right within a distance."""

from torchmetrics import Metric

from zoo.data_info import DataInfo
from zoo.model import Network

from ..metrics.place_recall import PlaceRecall
from .classes import Classes

TOP = (1, 5, 10, 15, 20, 25)  # N of recall@N


class Places(Classes):
    """Places: the metrics of classes, and recall@N, N = 1, 5, 10, 15, 20, 25, within the tolerance of the data.

    Recall@1 with a tolerance of 0 is the accuracy.
    """

    def check(self, model: Network, info: DataInfo) -> None:
        """Refuse data without places.

        Raises:
            ValueError: If the data have no positions.
        """
        if info.positions is None:
            raise ValueError(
                "Places: expected data with the positions of places, found none. Use PlacesDataModule, or a module for "
                "classes."
            )

    def metrics(self, num_classes: int, info: DataInfo) -> dict[str, Metric]:
        """See `Task`; recall@N for every N below the number of places."""
        recall = {
            f"recall_at_{top}": PlaceRecall(top, info.positions or [], info.tolerance)
            for top in TOP
            if top < num_classes
        }
        return super().metrics(num_classes, info) | recall
