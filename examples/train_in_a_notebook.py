"""Train and distil from Python, as in a notebook: modules, names, and a plain DataLoader of images and labels.

    python examples/train_in_a_notebook.py

A small convolutional network of your own learns scikit-learn's 8x8 digits, then teaches a spiking student.
"""

from typing import Any

import torch
from lightning import Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules import ClassificationModule, DistillationModule


def loaders() -> tuple[DataLoader, DataLoader]:
    """Batches (images [N, 1, 8, 8] in 0..1, labels [N]) for training and test."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    data = TensorDataset(images, torch.tensor(digits.target))
    train, test = TensorDataset(*data[:1400]), TensorDataset(*data[1400:])
    return DataLoader(train, batch_size=32, shuffle=True), DataLoader(test, batch_size=256)


def main(epochs: int = 3) -> dict[str, float]:
    """Train both and return the numbers of the student's test."""
    torch.manual_seed(0)
    train, test = loaders()
    options: dict[str, Any] = {
        "max_epochs": epochs,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    objectives: list[Any] = ["CrossEntropy", {"name": "LogitKD", "temperature": 2.0}]  # by name, or instances

    teacher = nn.Sequential(
        nn.Conv2d(1, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    Trainer(**options).fit(ClassificationModule(teacher, num_classes=10), train)

    student = DistillationModule(
        student="sew_resnet_tiny",  # `snnzoo list` shows the others
        teacher=teacher,
        objectives=objectives,
        num_classes=10,
        in_chans=1,
    )
    trainer = Trainer(**options)
    trainer.fit(student, train)
    return dict(trainer.test(student, test, verbose=False)[0])


if __name__ == "__main__":
    for name, value in main().items():
        print(f"{name:24} {value:.4f}")
