import numpy as np

from datamodules.events.compiled import compiled


def test_a_compiled_kernel_computes_what_it_says():
    @compiled
    def total(values):
        result = 0
        for value in values:
            result += value
        return result

    assert total(np.arange(10)) == 45
