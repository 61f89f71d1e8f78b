from pathlib import Path

from cli import main

ROOT = Path(__file__).parents[2]


def test_draw(registry, tmp_path, capsys, fails):
    main(["draw", "spiking_vgg_tiny.noise", "--registry", registry])
    printed = capsys.readouterr().out
    assert "flowchart TD" in printed
    assert "LIF" in printed
    main(["draw", "spiking_vgg_tiny.noise", "--registry", registry, "--output", str(tmp_path / "vgg.mmd")])
    assert (tmp_path / "vgg.mmd").read_text(encoding="utf-8") == printed
    for name, file, accepted in (
        ("sew_resnet_tiny", "x.jpg", ".svg or .png or .mmd or .md"),
        ("sew_*tiny", "x.svg", ".md for a page of 2 networks"),
    ):
        error = fails(["draw", name, "--output", str(tmp_path / file)])
        assert f"output: expected a file that ends in {accepted}, found" in error
        assert not (tmp_path / file).exists()
    assert "Did you mean 'sew_resnet_tiny'" in fails(["draw", "sew_resnet_tinny"])


def test_the_page_of_pictures_is_up_to_date(tmp_path):
    main(["draw", "*tiny", "--output", str(tmp_path / "wiring.md")])
    drawn = (tmp_path / "wiring.md").read_text(encoding="utf-8")
    assert drawn == (ROOT / "tests/zoo/data/wiring.md").read_text(encoding="utf-8"), "run `make wiring`"
