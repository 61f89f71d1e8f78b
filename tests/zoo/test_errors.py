"""`unknown` names what was found, the closest names, and where the rest is."""

import re

import pytest

from zoo.errors import by_name, check_arguments, unknown


@pytest.mark.parametrize(
    ("name", "accepted", "expected"),
    [
        # two, one and no close names
        ("plf", ["plif", "lif", "x"], "Unknown neuron 'plf'. Did you mean 'plif' or 'lif'? Accepted: lif, plif, x."),
        ("addd", ["add", "iou"], "Unknown neuron 'addd'. Did you mean 'add'? Accepted: add, iou."),
        ("zzz", ["b", "a"], "Unknown neuron 'zzz'. Accepted: a, b."),
        ("", ["a"], "Unknown neuron ''. Accepted: a."),
        # a class name for its registry name: only the case differs
        ("LIF", ["lif", "atan"], "Unknown neuron 'LIF'. Did you mean 'lif'? Accepted: atan, lif."),
        ("lif", ["LIF", "ATan"], "Unknown neuron 'lif'. Did you mean 'LIF'? Accepted: ATan, LIF."),
    ],
)
def test_sentence(name, accepted, expected):
    assert unknown("neuron", name, accepted) == expected


def test_at_most_three_close_names_closest_first():
    names = [f"sew_resnet{depth}" for depth in (18, 34, 50, 101, 152)]
    assert "Did you mean 'sew_resnet18', " in unknown("student", "sew_resnet1", names)
    assert unknown("student", "sew_resnet1", names).split("?")[0].count("'sew_resnet") == 4  # the found one, and three


def test_a_long_list_is_pointed_to():
    names = [f"name{index:02}" for index in range(21)]
    assert unknown("student", "zzz", names, see="See `list`.") == "Unknown student 'zzz'. See `list`."
    assert unknown("student", "zzz", names).endswith("name19, name20.")
    assert unknown("student", "zzz", names[:20], see="See `list`.").endswith("name18, name19.")


def test_names_may_come_from_any_iterable():
    assert unknown("neuron", "zzz", (name for name in ("b", "a"))).endswith("Accepted: a, b.")
    assert unknown("neuron", "zzz", {"a": 1}).endswith("Accepted: a.")


class Base:
    def __init__(self, alpha=1, *, beta=2):
        pass


class Derived(Base):
    def __init__(self, gamma=3, **base):
        super().__init__(**base)


def test_arguments_of_the_class_and_its_bases_are_accepted():
    check_arguments("thing", Derived, {"alpha": 0, "beta": 0, "gamma": 0})
    check_arguments("thing", object, [])


def test_what_a_class_does_not_pass_on_is_not():
    class Fixed(Base):
        def __init__(self, gamma=3):
            super().__init__(beta=gamma)

    class Alias(Fixed):
        def __init__(self, **fixed):
            super().__init__(**fixed)

    for thing in (Fixed, Alias):
        check_arguments("thing", thing, ["gamma"])
        with pytest.raises(ValueError, match=r"Unknown thing argument 'beta'.* Accepted: gamma\."):
            check_arguments("thing", thing, ["beta"])


@pytest.mark.parametrize("name", ["alhpa", "self", "base", "args"])
def test_other_arguments_are_not(name):
    with pytest.raises(ValueError, match=rf"Unknown thing argument '{name}'.* Accepted: alpha, beta, gamma\."):
        check_arguments("thing", Derived, ["alpha", name])


@pytest.mark.parametrize("spec", ["b", {"name": "b"}, {"name": "b", "x": 1}])
def test_name_and_arguments(spec):
    name, arguments = by_name("thing", spec, ["a", "b"])
    assert name == "b"
    assert arguments == ({"x": 1} if len(spec) == 2 else {})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"x": 1}, "'name' is missing in thing: {'x': 1}. Accepted: a, b."),
        ({"name": None}, "'name' is missing in thing: {'name': None}. Accepted: a, b."),
        ({}, "'name' is missing in thing: {}. Accepted: a, b."),
        (None, "'name' is missing in thing: None. Accepted: a, b."),
        ({"name": "c"}, "Unknown thing 'c'. Accepted: a, b."),
    ],
)
def test_a_name_that_is_missing_is_not_unknown(spec, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        by_name("thing", spec, ["b", "a"])
