import torch

from commands.run_output import score_table


def test_metrics_are_sorted_by_their_numbers():
    names = ["test/acc", *(f"test/acc_at_{t}" for t in range(1, 12)), "test/energy_uj"]
    table = score_table("test", {name: torch.tensor(0.5) for name in reversed(names)})
    assert list(table.columns[0].cells) == names
