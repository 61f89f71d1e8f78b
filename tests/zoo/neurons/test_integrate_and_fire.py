import torch

from zoo.neurons import IF


def trace(neuron, *current):
    return neuron(torch.tensor(current)[:, None]).flatten().tolist()


def test_hard_reset_by_hand():
    # H: 0.4, 0.8, 1.2 -> spike, V = 0; then 0.9, 1.0 -> spike at equality
    assert trace(IF(), 0.4, 0.4, 0.4, 0.9, 0.1) == [0, 0, 1, 0, 1]


def test_soft_reset_by_hand():
    # H: 1.75 -> spike, V = 0.75; 1.0 -> spike at equality, V = 0; 0.5; 1.0 -> spike
    assert trace(IF(v_reset=None), 1.75, 0.25, 0.5, 0.5) == [1, 1, 0, 1]


def test_starts_and_restarts_at_v_reset():
    # V0 = -0.5. H: 0.5; 1.5 -> spike, V = -0.5; 0.25; 1.0 -> spike
    assert trace(IF(v_reset=-0.5), 1.0, 1.0, 0.75, 0.75) == [0, 1, 0, 1]
