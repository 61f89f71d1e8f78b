import pytest
import torch

from zoo.neurons import IF, carry_state


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


def test_a_half_at_the_start_rounds_to_the_nearest():
    """Bu et al. 2022: a constant current X in [0, threshold] gives floor(T X / threshold + 1/2) spikes."""
    threshold, steps = 0.5, 8
    currents = torch.arange(0, 65) / 64 * threshold  # exact in binary, as are all sums of them
    spikes = IF(v_threshold=threshold, v_reset=None, v_init=0.5)(currents.expand(steps, -1))
    assert torch.equal(spikes.sum(0), (steps * currents / threshold + 0.5).floor())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_carried_state_starts_at_v_init(dtype):
    """In the kernels (fp32) and in the loops (float64)."""
    neuron, x = IF(v_reset=None, v_init=0.75), torch.full((4, 2, 3), 0.25, dtype=dtype)
    with carry_state(neuron):
        chunks = torch.cat([neuron(part) for part in x.split([1, 3])])
    assert torch.equal(chunks, neuron(x))
    assert chunks[:, 0, 0].tolist() == [1, 0, 0, 0]


def test_print_shows_v_init():
    assert "v_init=0.25" in repr(IF(v_reset=None, v_init=0.25))
