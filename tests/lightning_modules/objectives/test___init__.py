import pytest

from lightning_modules import objectives
from lightning_modules.objectives import TET, LogitKD, make_objectives


def test_finds_every_objective_of_the_folder():
    names = "BKD CrossEntropy FeatureMSE FirstSpike LogitKD MaxCrossEntropy NextToken Objective PerStep RateMSE"
    assert sorted(objectives.__all__) == sorted([*names.split(), "ShapedCrossEntropy", "TET", "WSLD"])
    assert all(getattr(objectives, name).__name__ == name for name in objectives.__all__)


def test_makes_objectives_from_names_and_instances():
    own = TET()
    recipe = {"class_path": "LogitKD", "init_args": {"weight": 0.5}}
    first, second, third, fourth = make_objectives(
        [own, "CrossEntropy", {"name": "LogitKD", "temperature": 2.0}, recipe]
    )
    assert first is own
    assert second.name == "CrossEntropy"
    assert third.temperature == 2.0
    assert isinstance(fourth, LogitKD)
    assert fourth.weight == 0.5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("LogitKDD", "Unknown objective 'LogitKDD'.*'LogitKD'"),
        ({"name": "LogitKD", "tempreture": 2.0}, "Unknown LogitKD argument 'tempreture'.*'temperature'"),
        ({"temperature": 2.0}, "'name' is missing in objective"),
        (3, "expected objectives or their names, found int"),
    ],
)
def test_refuses_what_is_no_objective(spec, message):
    with pytest.raises(ValueError, match=message):
        make_objectives([spec])
