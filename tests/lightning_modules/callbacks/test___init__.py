from lightning_modules import callbacks


def test_finds_every_callback_of_the_folder():
    names = (
        "BestCheckpoint ClampMonitor DelayAnnealing EMA EnergyMonitor EventPropMonitor FiringRate GrowSteps "
        "LastCheckpoint Plots PredictionWriter RecalibrateNorms ReviveSilent WhitenStem"
    )
    assert sorted(callbacks.__all__) == names.split()
    assert all(getattr(callbacks, name).__name__ == name for name in callbacks.__all__)
