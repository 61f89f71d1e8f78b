import torch

from zoo.neurons import LIF


def trace(neuron, *current):
    return neuron(torch.tensor(current)[:, None]).flatten().tolist()


def test_decayed_input_by_hand():
    # tau = 2: H = V/2 + X/2. H: 0.75; 0.375 + 0.75 = 1.125 -> spike; 0.75; 0.375 + 0.625 = 1.0 -> spike at equality
    assert trace(LIF(), 1.5, 1.5, 1.5, 1.25) == [0, 1, 0, 1]


def test_undecayed_input_by_hand():
    # tau = 4: H = 3/4 V + X. H: 0.8; 0.6 + 0.3 = 0.9; 0.675 + 0.4 = 1.075 -> spike; 0.5
    assert trace(LIF(tau=4.0, decay_input=False), 0.8, 0.3, 0.4, 0.5) == [0, 0, 1, 0]


def test_leaks_towards_the_reset_potential():
    # v_rest = 0.5, tau = 2, no input: V stays at rest and never fires
    assert trace(LIF(v_reset=0.5, decay_input=False), 0.0, 0.0, 0.0) == [0, 0, 0]
    # H = 0.5 + 0.5 = 1.0 -> spike, back to 0.5, again
    assert trace(LIF(v_reset=0.5, decay_input=False), 0.5, 0.5, 0.25) == [1, 1, 0]


def test_soft_reset_by_hand():
    # tau = 2: H: 2.0 -> spike, V = 1; 0.5 + 0.5 = 1.0 -> spike, V = 0; 0.5
    assert trace(LIF(v_reset=None), 4.0, 1.0, 1.0) == [1, 1, 0]
