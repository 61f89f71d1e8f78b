import pytest

from zoo.data_info import DataInfo
from zoo.sequence import SequenceKind

CFG = {"input_size": (2, 8, 8), "mean": (0.5, 0.5), "std": (0.2, 0.2), "sequence_ndim": 5}
MORE = {"num_classes": 3, "in_chans": 2, "label_names": ["a", "b", "c"], "num_steps": 4, "positions": [[0.0]] * 3}


def test_a_record_is_a_dict_and_back():
    info = DataInfo.from_dict(CFG | MORE)
    assert info.kind is SequenceKind.IMAGES
    assert info.to_dict() == CFG | MORE | {"tolerance": 0.0}
    assert DataInfo.from_dict(info.to_dict()) == info


def test_a_model_remembers_only_the_words_of_timm():
    remembered = {key: CFG[key] for key in ("input_size", "mean", "std")}
    assert DataInfo.from_dict(CFG).model_cfg() == remembered
    assert DataInfo.from_dict(CFG | MORE).model_cfg() == remembered | {"label_names": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_class": 3}, "Unknown key 'num_class'. Did you mean 'num_classes'"),
        ({"sequence_ndim": 7}, "expected 2, 3, 4 or 5, found 7"),
        ({"input_size": (8, 8)}, "expected three numbers, found .8, 8."),
    ],
)
def test_what_it_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        DataInfo.from_dict(CFG | changes)


def test_statistics_are_needed():
    with pytest.raises(ValueError, match="found no mean, std"):
        DataInfo.from_dict({"input_size": (1, 8, 8)})
