import json

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from datamodules.text import tokenizer
from datamodules.text.tokenizer import BYTE_OF, make_tokenizer, pieces

SONG = (
    "Zehn kleine Jägermeister rauchten einen Joint.\n\n  Den einen\that es umgehauen — da waren's nur noch neun. 😀\n"
    * 40
)
TEXT = SONG.encode()


@pytest.fixture(autouse=True)
def cache(own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.cache.home", lambda: tmp_path / "cache")
    return tmp_path / "cache/tokenizers"


def never():
    raise AssertionError("the text is not needed")


@pytest.fixture
def neox(tmp_path):
    """A file as GPT-NeoX's: NFC, added runs of spaces, a special token, and traps: truncation and added specials."""
    library = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(sorted(BYTE_OF))}, merges=[]))
    library.normalizer = normalizers.NFC()
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<|endoftext|>"])
    library.add_tokens([AddedToken("    ", normalized=True)])
    library.post_processor = processors.TemplateProcessing("<|endoftext|> $A", None, [("<|endoftext|>", 256)])
    library.enable_truncation(4)
    library.enable_padding(length=9)
    file = tmp_path / "tokenizer.json"
    library.save(str(file))
    return file


def test_the_alphabet_is_that_of_the_library():
    assert set(BYTE_OF) == set(pre_tokenizers.ByteLevel.alphabet())
    library = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for char in ("a", " ", "\n", "ä", "\xad", "€", "😀"):
        ((found, _),) = library.pre_tokenize_str(char)
        assert bytes(BYTE_OF[part] for part in found) == char.encode()


def test_bytes_are_tokens():
    found = make_tokenizer("bytes", never)
    assert found.encode(TEXT).tobytes() == TEXT
    assert len(set(found.names)) == 256
    assert (found.names[65], found.names[195]) == ("A", "\\xc3")


def test_trained_pairs_lose_nothing_and_are_shorter():
    found = make_tokenizer("bpe:300", lambda: TEXT)
    tokens = found.encode(TEXT)
    assert len(found.vocabulary) == len(found.names) == 300
    assert found.decode(tokens.tolist()) == SONG
    assert len(tokens) < len(TEXT) / 2
    assert sum(len(found.vocabulary[token]) for token in tokens) == len(TEXT)
    other = "Grüße: ∑ 漢字 \x00"  # bytes that training never saw
    assert found.decode(found.encode(other.encode()).tolist()) == other


def test_the_first_pair_is_the_most_frequent():
    found = make_tokenizer("bpe:257", lambda: b"abababab abab ac")
    assert found.vocabulary[256] == b"ab"
    assert {bytes([byte]) for byte in range(256)} < {*found.vocabulary}


def test_a_text_without_pairs_gives_fewer():
    assert len(make_tokenizer("bpe:5000", lambda: b"to be or not to be").vocabulary) < 300


def test_training_is_cached_by_its_text_and_repeats(cache):
    first = make_tokenizer("bpe:300", lambda: TEXT).definition
    (file,) = cache.iterdir()
    file.write_text(first.replace('"version"', '"version" '))
    assert make_tokenizer("bpe:300", lambda: TEXT).definition != first  # read, not trained
    file.unlink()
    assert make_tokenizer("bpe:300", lambda: TEXT).definition == first
    make_tokenizer("bpe:300", lambda: TEXT + b"!")
    make_tokenizer("bpe:301", lambda: TEXT)
    assert len([*cache.iterdir()]) == 3


def test_parts_of_a_long_text_are_encoded_as_the_whole(monkeypatch):
    found = make_tokenizer("bpe:350", lambda: TEXT)
    whole = found.library.encode(SONG).ids
    monkeypatch.setattr(tokenizer, "PIECE", 50)
    assert len([*pieces(SONG)]) > 20
    assert "".join(pieces(SONG)) == SONG
    assert found.encode(TEXT).tolist() == whole
    assert found.encode(b"").tolist() == []


def test_a_character_that_is_cut_is_left_out():
    found = make_tokenizer("bpe:300", lambda: TEXT)
    assert found.decode(found.encode("ä—".encode()[1:-1]).tolist()) == ""


def test_a_file_is_read_as_it_is(neox):
    found = make_tokenizer(str(neox), never)
    assert len(found.vocabulary) == 258
    assert found.vocabulary[256:] == (b"<|endoftext|>", b"    ")
    tokens = found.encode(b"a    b, and\n<|endoftext|>more than four tokens")
    assert [found.vocabulary[token] for token in tokens[:3]] == [b"a", b"    ", b"b"]
    assert found.decode(tokens.tolist()) == "a    b, and\n<|endoftext|>more than four tokens"
    assert (tokens == 256).sum() == 1
    composed, apart = found.encode("ä".encode()), found.encode("a\u0308".encode())
    assert np.array_equal(composed, apart)


def test_files_it_refuses(tmp_path, neox):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*absent.json. Accepted are bytes, bpe:VOCAB"):
        make_tokenizer(str(tmp_path / "absent.json"), never)
    (tmp_path / "broken.json").write_text(neox.read_text()[:-100])
    with pytest.raises(ValueError, match=r"broken.json is no tokenizer.json"):
        make_tokenizer(str(tmp_path / "broken.json"), never)
    words = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    words.save(str(tmp_path / "words.json"))
    with pytest.raises(ValueError, match=r"words.json is not byte-level"):
        make_tokenizer(str(tmp_path / "words.json"), never)
    gap = json.loads(neox.read_text())
    del gap["model"]["vocab"]["a"]  # such a model drops every "a" without a word
    (tmp_path / "gap.json").write_text(json.dumps(gap))
    with pytest.raises(ValueError, match=r"gap.json is not byte-level"):
        make_tokenizer(str(tmp_path / "gap.json"), never)


@pytest.mark.parametrize("spec", ["bpe:", "bpe:256", "bpe:-3", "bpe:1e4", "bpe:99999999"])
def test_sizes_it_refuses(spec):
    with pytest.raises(ValueError, match=rf"bpe:VOCAB with a size above 256, .* found {spec}"):
        make_tokenizer(spec, never)
