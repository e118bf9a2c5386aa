from dalle_jax.cli.main import run_verb
from dalle_jax.runs import open_run


def test_a_model_is_written_and_its_place_said(tiny_workdir, tmp_path, capsys):
    out = tmp_path / "model"
    options = [f"--workdir={tiny_workdir}", f"--out={out}", "--dtype=float16", "--weights=raw"]
    assert run_verb("export", options) == 0
    assert capsys.readouterr().out.startswith(f"model: {out} (")
    card = (out / "README.md").read_text()
    assert "in float16." in card and "| raw |" in card
    assert open_run(out / "decoder").fingerprint == open_run(tiny_workdir / "decoder").fingerprint
