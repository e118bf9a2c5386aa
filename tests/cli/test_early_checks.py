"""What is typed is checked before anything long begins: nothing here is trained or compiled."""

import json
from pathlib import Path

import pytest

from dalle_jax import trainer
from dalle_jax.cli import evaluate, figure, sample, sweep, train
from dalle_jax.config.load import load_config
from dalle_jax.evaluation.checks import check_evaluation, check_later_data, check_stage
from dalle_jax.evaluation.options import Evaluation, evaluation_of
from dalle_jax.pipelines.settings import check_sampling
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.runs import Run, create_run
from dalle_jax.sweeps import plan as sweep_plan
from dalle_jax.sweeps.checks import check_points, data_problems
from dalle_jax.sweeps.grid import Sweep
from dalle_jax.sweeps.hours import Counts
from dalle_jax.sweeps.overrides import load_point
from dalle_jax.sweeps.shared_runs import build_graph
from tests.conftest import ROOT
from tests.data.pictures import write
from tests.data.tars import png

TINY, UNCLIP = ROOT / "configs/tiny.py", ROOT / "configs/unclip_tiny.py"
ORACLE = {"n": 8, "metrics": "oracle"}
GOOD = {"decoder.sample.guidance_scale": 1.0}
EVERY_5 = {"decoder.train.evaluate_every": 5}

MISTAKES = [
    ({"n": 8, "metrics": "orcale"}, {}, "no metric 'orcale'; did you mean oracle"),
    ({"n": 8, "metrics": "oracle,fdi"}, {}, "no metric 'fdi'; did you mean fid"),
    ({"n": 8, "metric": "oracle"}, {}, "no option 'metric'; did you mean metrics"),
    ({"n": 0, "metrics": "oracle"}, {}, "n is 0; it must be a whole number, 1 or more"),
    ({"seeds": [0.5]}, {}, "seeds is .*; it must be different whole numbers"),
    ({"n": "many"}, {}, "n is 'many'; it must be a whole number"),
    ({"leakage": "yes"}, {}, "leakage is 'yes'; it must be True or False"),
    ({"images": "folder:x"}, {}, "give manifest too"),
    ({"eta": 0.5}, {}, 'sampler "unipc" has no option "eta"'),
    ({"seeds": "0,0"}, {}, "seeds is .*; it must be different whole numbers"),
    ({"metrics": "fid"}, {}, "fid needs a network: give --inception=FILE"),
    ({"metrics": "fid,kid"}, {}, r"need a network.*pt_inception-2015-12-05-6726825d\.pth"),
    ({"metrics": "fid", "inception": "none.safetensors"}, {}, "--inception=none.* no such file"),
    ({"metrics": "fid", "features": "runs/none"}, {}, "runs/none holds no run"),
    ({"metrics": "fid", "features": "a", "inception": "b"}, {}, "no such file"),
    ({"metrics": "clip"}, {}, "needs a trained CLIP"),
    ({"metrics": "clip", "clip": "runs/none"}, {}, "runs/none holds no run"),
    ({"manifest": "none.jsonl"}, {}, r"no caption manifest none\.jsonl"),
    ({"metrics": "oracle", "reference": "none"}, {}, "--reference=none: there is no such"),
    ({"preprocess": "clean_fid"}, {}, "did you mean clean-fid"),
    ({"round_trip": "jpeg:0"}, {}, "jpeg"),
    ({"weights": "emma"}, {}, "did you mean ema"),
    (ORACLE, {"decoder.sample.sampler": "ddmi"}, "'ddmi'; it must be one of .*did you mean ddpm"),
    (ORACLE, {"decoder.sample.spacing": "karas"}, "did you mean karras"),
    (ORACLE, {"decoder.sample.eta": 0.5}, 'sampler "unipc" has no option "eta"'),
    (ORACLE, {"decoder.sample.etta": 0.5}, 'no option "etta"; did you mean eta'),
    (ORACLE, {"decoder.sample.spacing": "sections"}, '"sections" needs a discrete schedule'),
    (ORACLE, {"decoder.sample.num_inference_steps": 0}, "num_inference_steps is 0; it must be"),
    (ORACLE, {"decoder.sample.guidance_scale": float("nan")}, "it must be a finite number"),
    (ORACLE, {"decoder.train.optimizer.name": "sgd"}, "'sgd'; it must be one of adamw, muon"),
    (ORACLE, {"decoder.loss.target": "mean"}, "give diffusion.num_timesteps"),
    (ORACLE, {"decoder.train.steps": 0}, "it must be at least 1"),
    (ORACLE, {"decoder.model.unet.norm_groups": 3}, "must be a multiple of norm_groups"),
    (None, EVERY_5 | {"decoder.train.evaluation_features": "runs/none"}, "runs/none holds no run"),
    (None, {"decoder.loss.target": "edm"}, 'target "edm" needs a scaled input'),
    (None, {"decoder.sample.etta": 0.5}, 'sampler "unipc" has no option "etta"'),
    (None, {"decoder.sample.sampler": "heun", "decoder.sample.order": 2}, 'no option "order"'),
]


def graph_of(config, points, evaluation, stages=()):
    found = Sweep(str(config), points, stages=stages, evaluation=evaluation)
    return build_graph(found, lambda overrides: load_point(config, overrides))


@pytest.mark.parametrize(("evaluation", "wrong", "sentence"), MISTAKES)
def test_a_mistake_in_one_point_of_a_sweep_is_refused(evaluation, wrong, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as error:
        check_points(graph_of(TINY, [GOOD, {**GOOD, "seed": 1, **wrong}], evaluation))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("points", [[GOOD], [GOOD, {"decoder.sample.sampler": "ddim"}]])
@pytest.mark.parametrize("evaluation", [None, {}, ORACLE, {"seeds": "0,1", "leakage": True}])
def test_what_is_right_is_taken(points, evaluation):
    check_points(graph_of(TINY, points, evaluation))


def test_the_point_of_a_mistake_is_named():
    points = [GOOD, {"decoder.sample.eta": 0.5, "decoder.sample.sampler": "unipc"}]
    with pytest.raises(ValueError, match=r"^point decoder\.sample\.eta=0\.5,decoder\.sample\.samp"):
        check_points(graph_of(TINY, points, ORACLE))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"prior.sample.sampler": "ddim2"}, "did you mean ddim"),
        ({"prior.sample.eta": 0.5}, 'sampler "unipc" has no option "eta"'),
        ({"prior.sample.num_candidates": 0}, "it must be at least 1"),
        ({"upsampler.sample.guidance_scale": 2.0}, "no condition to be guided by"),
        ({"upsampler.sample.spacing": "sections"}, 'spacing "sections" needs'),
    ],
)
def test_settings_of_every_stage_are_checked(wrong, sentence):
    stages = ("clip", "prior", "decoder", "upsampler")
    check_points(graph_of(UNCLIP, [{}], {"metrics": "oracle,clip"}, stages))
    with pytest.raises(ValueError, match=sentence):
        check_points(graph_of(UNCLIP, [{}, wrong], {"metrics": "oracle,clip"}, stages))


def test_a_network_that_is_trained_first_may_be_missing():
    graph = graph_of(TINY, [GOOD], {"metrics": "fid", "features": "runs/features"})
    check_points(graph, to_be_trained=["runs/features"])
    with pytest.raises(FileNotFoundError, match="runs/features holds no run"):
        check_points(graph, to_be_trained=["runs/other"])


EXPERIMENT = """
from dalle_jax.sweeps.grid import Sweep

SCALES = {{"tiny": 0}}

def get_sweep(scale):
    SCALES[scale]
    return Sweep(config="configs/tiny.py", points=[{{}}, {points}], evaluation={evaluation})
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the real configs, in which an experiment file can be written."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "experiments").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_experiment(project, points, evaluation):
    path = project / "experiments/mine.py"
    path.write_text(EXPERIMENT.format(points=points, evaluation=evaluation))
    return path


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--backend=slurm"]])
def test_a_sweep_refuses_a_mistyped_metric_before_it_makes_anything(project, options):
    path = write_experiment(project, {"seed": 1}, {"metrics": "orcale"})
    with pytest.raises(ValueError, match="did you mean oracle"):
        sweep.run([str(path), "--workdir=w", *options])
    assert not (project / "w").exists()


def test_a_config_s_mistake_is_named_before_missing_data(project):
    path = write_experiment(project, {"decoder.train.optimizer.name": "sgd"}, ORACLE)
    with pytest.raises(ValueError, match="'sgd'; it must be one of adamw, muon"):
        sweep.run([str(path), "--workdir=w"])
    with pytest.raises(ValueError, match="'sgd'; it must be one of adamw, muon"):
        train.run([f"--config={TINY}", "--workdir=w", "--config.decoder.train.optimizer.name=sgd"])
    assert not (project / "w").exists()


def test_captions_that_are_too_few_are_found_before_a_training(project, shapes_dir):
    graph = graph_of(TINY, [{"data.dir": str(shapes_dir)}], {"n": 10**6})
    (error,) = data_problems(graph, sweep_plan.SweepLayout(project, "w"))
    assert "captions, fewer than the 1000000 asked for" in str(error)


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures with captions that are not those of shapes."""
    files = {f"{i}.png": png(2 * i, (24, 24)) for i in range(120)}
    captions = {f"{i}.txt": "a picture of my cat" for i in range(120)}
    return write(tmp_path / "pictures", files | captions)


def test_captions_that_an_oracle_can_not_read_are_found_before_a_training(project, pictures):
    points = [{"data.source": f"folder:{pictures}"}]
    layout = sweep_plan.SweepLayout(project, "w")
    (error,) = data_problems(graph_of(TINY, points, {"metrics": "oracle"}), layout)
    assert "a picture of my cat" in str(error)
    assert data_problems(graph_of(TINY, points, None), layout) == []


def test_each_missing_data_set_is_named_once(project):
    points = [{"seed": 0}, {"seed": 1}, {"data.image_size": 48}]
    graph = graph_of(TINY, points, ORACLE)
    errors = data_problems(graph, sweep_plan.SweepLayout(project, "w"), scan=False)
    assert ["at 24 pixels" in str(e) for e in errors] == [True, False]


@pytest.mark.parametrize(
    ("path", "stage", "settings", "sentence"),
    [
        (TINY, "decoder", {"sample.spacing": "sections"}, 'spacing "sections" needs'),
        (TINY, "decoder", {"loss.weighting": "bound"}, 'weighting "bound" is that of one'),
        (TINY, "decoder", {"diffusion.schedule": "edm"}, 'in schedule "edm"'),
        (UNCLIP, "joint", {"sample.spacing": "sections"}, 'spacing "sections" needs'),
        (UNCLIP, "joint", {"prior_sampling.sampler": "ddmi"}, "did you mean ddpm"),
        (UNCLIP, "upsampler", {"model.low_res_size": 13}, "can't make images of 24"),
        (UNCLIP, "prior", {"sample.num_candidates": 0}, "it must be at least 1"),
        (
            TINY,
            "decoder",
            {"train.evaluate_every": 5, "train.evaluation_features": "runs/none"},
            "runs/none holds no run",
        ),
    ],
)
def test_a_stage_is_checked_without_data(path, stage, settings, sentence):
    typed = [f"--config.{stage}.{name}={value}" for name, value in settings.items()]
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        check_stage(stage, load_config(path, typed).to_dict())


def test_settings_of_a_stage_that_go_together_pass_without_data():
    typed = ["--config.joint.prior_sampling.sampler=ddim", "--config.joint.sample.spacing=beta"]
    check_stage("joint", load_config(UNCLIP, typed).to_dict())


def test_a_later_stage_s_mistake_is_found_before_the_first_is_trained(project, monkeypatch):
    monkeypatch.setattr(trainer, "train_stage", lambda *_: pytest.fail("it began to train"))
    with pytest.raises(ValueError, match="can't make images of 24 pixels from 13"):
        train.run([f"--config={UNCLIP}", "--workdir=w", "--config.upsampler.model.low_res_size=13"])
    wider = ["--config.upsampler.data.image_size=48", "--config.upsampler.loss.crop_size=48"]
    with pytest.raises(FileNotFoundError, match="not prepared at 48 pixels"):
        train.run([f"--config={UNCLIP}", "--workdir=w", *wider])


def test_data_of_a_later_stage_may_be_missing_if_it_is_trained(project, monkeypatch):
    config = load_config(UNCLIP, ["--config.upsampler.data.image_size=48"]).to_dict()
    config["upsampler"]["loss"]["crop_size"] = 48
    stages = ("clip", "upsampler")
    with pytest.raises(FileNotFoundError, match="not prepared at 48 pixels"):
        check_later_data(stages, config, project / "w")
    config["data"]["source"] = "folder:old"
    with pytest.raises(FileNotFoundError, match="no folder new"):
        check_later_data(stages, config, project / "w", "folder:new")
    monkeypatch.setattr(Run, "step", config["upsampler"]["train"]["steps"])
    check_later_data(stages, config, project / "w")


def evaluated(tmp_path, images, **data):
    """Check what the evaluations in a later training need."""
    typed = ["--config.decoder.train.evaluate_every=5", "--config.stages=('clip','decoder')"]
    typed += [f"--config.decoder.train.evaluation_images={images}"]
    typed += [f"--config.data.{name}={value}" for name, value in data.items()]
    config = load_config(UNCLIP, typed).to_dict()
    check_later_data(config["stages"], config, tmp_path)


def test_evaluations_in_a_later_training_are_tried_first(shapes_dir, tmp_path):
    evaluated(tmp_path, 4, dir=shapes_dir)
    with pytest.raises(ValueError, match="fewer than the 1000000 asked for"):
        evaluated(tmp_path, 10**6, dir=shapes_dir)


def test_captions_that_no_evaluation_in_training_can_read_are_found_first(pictures, tmp_path):
    sentence = r"finds nothing to measure by: give train\.evaluation_features"
    with pytest.raises(ValueError, match=sentence):
        evaluated(tmp_path, 1, source=f"folder:{pictures}")
    point = {"data.source": f"folder:{pictures}", "decoder.train.evaluation_images": 1, **EVERY_5}
    (error,) = data_problems(graph_of(TINY, [point], None), sweep_plan.SweepLayout(tmp_path, "w"))
    assert "finds nothing to measure by" in str(error)


@pytest.mark.parametrize("name", ["none.npz", "diverged_3.npz", "diverged_4.npz"])
def test_a_file_to_be_replayed_is_read_before_anything_else(workdir, monkeypatch, name):
    (workdir / "decoder/diverged_4.npz").write_text("no archive")
    monkeypatch.setattr(trainer, "open_data", lambda *_, **__: pytest.fail("it began"))
    file = workdir / "decoder" / name
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        train.run([f"--config={TINY}", f"--workdir={workdir}", f"--replay={file}"])


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A workdir with a decoder's run, of which no weights may be loaded."""
    create_run(tmp_path / "w/decoder", "decoder", load_config(TINY).to_dict())
    (tmp_path / "w/decoder/checkpoints/8").mkdir(parents=True)
    refuse = lambda *_, **__: pytest.fail("weights were loaded")
    monkeypatch.setattr(DallePipeline, "from_pretrained", refuse)
    monkeypatch.setattr("dalle_jax.evaluation.workdir.PipelineCache.load", refuse)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "w"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--eta=0.5"], 'sampler "unipc" has no option "eta"'),
        (["--spacing=sections"], 'spacing "sections" needs'),
        (["--guidance_interval=(3, 1)"], "a guidance interval is two noise levels"),
        (["--prior.guidance_scale=2"], "there is no stage 'prior'"),
    ],
)
@pytest.mark.parametrize("verb", ["sample", "evaluate"])
def test_settings_are_checked_before_weights_are_loaded(workdir, verb, options, sentence):
    run, typed = (sample.run, ["a circle"]) if verb == "sample" else (evaluate.run, [])
    with pytest.raises(ValueError, match=sentence):
        run([*typed, f"--workdir={workdir}", *options])


def test_a_stage_that_is_not_there_is_refused_before_weights_are_loaded(workdir):
    with pytest.raises(ValueError, match="'upsampler' that makes images; it has decoder"):
        sample.run(["a circle", f"--workdir={workdir}", "--until=upsampler"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--metrics=fid"], "fid needs a network"),
        (["--metrics=clip"], "needs a trained CLIP"),
        (["--manifest=none.jsonl"], r"no caption manifest none\.jsonl"),
        (["--metrics=fid", "--features=w"], "a decoder, which has no features|holds no run"),
        (["--metrics=fid", "--features=none"], "none: there is no such file or folder"),
    ],
)
def test_files_of_an_evaluation_are_looked_for_first(workdir, options, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        evaluate.run([f"--workdir={workdir}", *options])


@pytest.mark.parametrize("source", ["text-embedding", "image-embedding", "text"])
def test_an_embedding_that_a_decoder_does_not_read_is_refused_without_weights(workdir, source):
    with pytest.raises(ValueError, match=r"reads captions only|no embedding comes from 'text'"):
        check_sampling(workdir, {"embedding": source})


def test_settings_of_a_run_are_taken_where_none_are_given(workdir):
    check_sampling(workdir, {})
    check_sampling(workdir, {"sampler": "ddim", "eta": 0.5})
    check_evaluation(Evaluation(workdir), has_clip=False)


def test_options_of_a_sweep_s_evaluation_are_lists_or_texts_as_they_are_typed():
    for options in (
        {"n": 8, "metrics": ["oracle", "fid"], "seeds": (0, 1), "preprocess": "clean-fid"},
        {"n": "8", "metrics": "oracle,fid", "seeds": "0,1", "preprocess": "clean-fid"},
    ):
        what = evaluation_of(Path("w"), json.loads(json.dumps(options)), {"eta": 0.5})
        assert (what.n, what.metrics, what.seeds) == (8, ("oracle", "fid"), (0, 1))
        assert what.preprocessing.resize == "clean-fid" and what.sampling == {"eta": 0.5}
    assert evaluation_of(Path("w"), {}, {}) == Evaluation(Path("w"))


FIGURES = sorted((ROOT / "experiments/figures").glob("*.py"))


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_every_figure_s_dry_run_says_what_is_to_be_done(path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Counts, "step", lambda *_: 1e9)
    monkeypatch.setattr(Counts, "forward", lambda *_: 1e8)
    monkeypatch.setattr(sweep_plan, "guessed_rate", lambda *_: 1e10)
    monkeypatch.chdir(tmp_path)
    assert figure.run([path.stem, "--dry-run"]) == 0
    out = capsys.readouterr().out
    if "sweep=" in path.read_text() or "Sweep(" in path.read_text():
        assert "distinct trainings are to be done" in out and "hours" in out
        assert "is not prepared at" in out
    else:
        assert f"{path.stem} needs no trained network: nothing is to be trained" in out
    assert not list(tmp_path.rglob("config.json"))  # nothing is begun


FIGURE = """
from dalle_jax.figures.figure import Figure
from dalle_jax.sweeps.grid import Sweep

def get_figure(scale):
    sweep = Sweep("configs/tiny.py", [{{}}], evaluation={})
    return Figure(None, None, sweep=sweep, {})
"""


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("evaluation", "more", "options", "sentence"),
    [
        (
            {"metrics": "fdi"},
            "features='configs/features.py'",
            [],
            "no metric 'fdi'; did you mean fid",
        ),
        (
            None,
            "measure=print, num_captions=4",
            ["--captions=1000"],
            r"fewer than the 1000 .*give --captions=\d+ or fewer",
        ),
    ],
)
def test_a_figure_s_mistake_is_found_before_a_training(
    project, shapes_dir, monkeypatch, dry, evaluation, more, options, sentence
):
    write(project, {"experiments/figures/mine.py": FIGURE.format(evaluation, more)})
    monkeypatch.setattr("dalle_jax.figures.sweep.run", lambda *_, **__: pytest.fail("began"))
    typed = [f"{project}/experiments/figures/mine.py", f"--config.data.dir={shapes_dir}"]
    with pytest.raises(ValueError, match=sentence):
        figure.run([*typed, *options, *dry])
