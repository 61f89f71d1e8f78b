"""Does a student that starts from its teacher's weights start above chance, and learn faster? On handwritten digits.

    python benchmarks/init_from_teacher.py      # three minutes on one core

A ResNet-20 for small images is trained, then its spiking twin, SEW-ResNet-20, is started from it by
`zoo.init_from_teacher` with several percentiles, and trained with cross-entropy alone, against the same student
with random weights: same batches, same optimiser. Accuracy on the 597 digits that nothing was trained on; the mean and
the spread (lowest to highest) over three seeds of the student.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

import zoo
from zoo.model import Network
from zoo.teacher import StillModel

SEEDS, TRAIN = (0, 1, 2), 1200


def digits() -> tuple[Tensor, Tensor]:
    """All 1,797 digits, normalised: images [N, 1, 8, 8] and labels."""
    data = load_digits()
    return (torch.tensor(data.images, dtype=torch.float32)[:, None] / 16 - 0.3) / 0.37, torch.tensor(data.target)


def fit(model: Network, x: Tensor, y: Tensor, steps: int) -> None:
    """Train with AdamW and cross-entropy, on batches of 64 that depend on the step alone."""
    draw, optimiser = torch.Generator().manual_seed(0), torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(steps):
        chosen = torch.randint(TRAIN, (64,), generator=draw)
        loss = F.cross_entropy(model(x[chosen]), y[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def accuracy(model: Network, x: Tensor, y: Tensor) -> float:
    """Percent of the held-out digits."""
    return 100 * (model.eval()(x[TRAIN:]).argmax(-1) == y[TRAIN:]).float().mean().item()


def main() -> None:
    """Measure and print."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = digits()
    ann = zoo.create_model("cifar_resnet20", num_classes=10, in_chans=1)
    fit(ann, x, y, 120)
    teacher = StillModel(ann.eval(), {"input_size": (1, 8, 8), "mean": (0.0,), "std": (1.0,)})
    ann.pretrained_cfg.update(input_size=(1, 8, 8), mean=(0.0,), std=(1.0,))
    print(f"teacher {accuracy(ann, x, y):.1f} %; random weights before training: chance is 10 %")

    def student(seed: int, num_steps: int, percentile: float | None) -> Network:
        torch.manual_seed(seed)
        model = zoo.create_model("sew_resnet20", num_classes=10, in_chans=1, num_steps=num_steps)
        if percentile is not None:
            zoo.init_from_teacher(model, teacher, list(x[:TRAIN].split(200)), percentile)
        return model

    def show(title: str, percentile: float | None, num_steps: int, steps: int) -> None:
        models = [student(seed, num_steps, percentile) for seed in SEEDS]
        for model in models:
            fit(model, x, y, steps)
        found = [accuracy(model, x, y) for model in models]
        print(f"{title:40} {sum(found) / len(found):5.1f} % ({min(found):.1f} to {max(found):.1f})", flush=True)

    for num_steps in (4, 16):
        for percentile in (99.9, 99.0, 95.0, 90.0, 80.0):
            show(f"T = {num_steps:2}, percentile {percentile:4}, untrained", percentile, num_steps, 0)
    for steps in (10, 20, 40, 80, 160):
        for title, percentile in (("from the teacher", 90.0), ("random weights", None)):
            show(f"T =  4, {steps:3} steps, {title}", percentile, 4, steps)


if __name__ == "__main__":
    main()
