"""What is typed wrongly is named in one sentence, with the nearest known name, before anything."""

import argparse
import itertools
import json
import math
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalle_jax import diffusion
from dalle_jax.cli import completion, evaluate_folders, main, options, sampling_options
from dalle_jax.cli.options import Number, OneOf, Parser, SomeOf
from dalle_jax.config import choices
from dalle_jax.evaluation.options import evaluation_of
from dalle_jax.metrics.table import OLD_NAMES
from dalle_jax.nearest import nearest
from tests.conftest import ROOT

HEAVY = {"jax", "flax", "matplotlib", "pyarrow", "tensorflow_datasets", "orbax", "grain"}
VERBS = {verb: import_module(f"dalle_jax.cli.{verb}").make_parser for verb in main.VERBS}


def refused(capsys, verb, *argv):
    """The sentence that a verb's parser answers with."""
    with pytest.raises(SystemExit) as ended:
        VERBS[verb]().parse_args(list(argv))
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1 and said.err.startswith("dalle-jax ")
    return said.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        # Unknown options, also where a required one is missing.
        ("train --workdr=runs/x", "no option --workdr; did you mean --workdir?"),
        ("train --wrokdir runs/x", "no option --wrokdir; did you mean --workdir?"),
        ("train --config=a --Workdri=x", "did you mean --workdir?"),
        ("sample a --num_steps=3", "did you mean --num_inference_steps?"),
        ("sample a --steps=3", "did you mean --num_inference_steps?"),
        ("sample a --workdir=x --guidence_scale=3", "did you mean --guidance_scale?"),
        ("sample a --workdir=x --prior.guidence=3", "did you mean --prior.guidance_scale?"),
        ("sample a --workdir=x --prior.eta", "lacks its value; write it as --prior.eta=…"),
        ("sample a --workdir=x prior.eta=3", "lacks its two dashes; type --prior.eta=3"),
        ("sample a --workdir=x --batch_size=3", "no option --batch_size"),
        ("sample a --workdir=x --callback=3", "no option --callback"),
        ("evaluate --workdir=x --seed=3", "did you mean --seeds?"),
        ("evaluate --fkae=x --real=y", "did you mean --fake?"),
        ("sweep x --workdir=x --max-hour=3", "did you mean --max-hours?"),
        ("sweep x --workdir=x --confg.seed=3", "no option --confg.seed"),
        ("figure x --feature=y", "did you mean --features?"),
        ("bench --cofnig=x", "did you mean --config?"),
        ("prepare emoji --data-dri=x", "did you mean --data_dir?"),
        ("compare a --metrics=fid", "did you mean --metric?"),
        ("report x --ouy=y", "did you mean --out?"),
        ("convert inception --form=a --to=b", "did you mean --from?"),
        # No abbreviations: what is added later would change what they mean.
        ("train --work=x --config=y", "did you mean --workdir?"),
        # Slips of dashes and blanks.
        ("train -workdir=x", "begin with two dashes; did you mean --workdir?"),
        ("sample a --workdir=x -n 3", "begin with two dashes; did you mean --n?"),
        ("train -o x", "begin with two dashes"),
        ("train workdir=x", "lacks its two dashes; type --workdir=x"),
        ("sample n=3 --workdir=x", "lacks its two dashes; type --n=3"),
        ("train config.seed=3", "lacks its two dashes; type --config.seed=3"),
        ("train —workdir=x", "long dash; type --workdir"),
        ("train –workdir x", "long dash; type --workdir"),
        ("train --workdir = x", "written without blanks: --name=value"),
        # Values.
        ("sample a --workdir", "--workdir needs a value"),
        ("train --workdir --config=x", "--workdir needs a value"),
        ("sample a --workdir=", "--workdir is empty; give a path"),
        ("sample a --n=0", "--n is a whole number of at least 1, not '0'"),
        ("sample a --n=two", "--n is a whole number of at least 1, not 'two'"),
        ("sample a --n=1.5", "--n is a whole number of at least 1, not '1.5'"),
        ("sample a --seed=x", "--seed is a whole number from 0 to 18446744073709551615, not 'x'"),
        ("sample a --guidance_scale=nan", "--guidance_scale is a number, not 'nan'"),
        ("sample a --guidance_scale=inf", "--guidance_scale is a number, not 'inf'"),
        ("sample a --sampler=heunn", "unipc, not 'heunn'; did you mean heun?"),
        ("sample a --workdir=x --spacing=karas", "did you mean karras?"),
        ("sweep x --workdir=y --max_hours=nan", "--max-hours is a number of at least 0, not 'nan'"),
        ("sweep x --workdir=y --retries=-1", "--retries is a whole number of at least 0"),
        ("sweep x --workdir=y --scale=medium", "--scale is one of tiny, small, paper"),
        ("sweep x --workdir=y --dry-run=yes", "--dry-run takes no value"),
        ("prepare emoji --rule=best", "--rule is one of one, all"),
        ("prepare folder:x --max_bad_share=2", "is a number from 0 to 1, not '2'"),
        ("evaluate --workdir=x --seeds=0,0", "--seeds is a list of different whole numbers"),
        ("evaluate --workdir=x --seeds=a", "--seeds is a list of different whole numbers"),
        ("evaluate --workdir=x --metrics=,", "names none"),
        ("evaluate --workdir=x --metrics=oracle,fdi", "has no 'fdi'; did you mean fid?"),
        ("evaluate --workdir=x --preprocess=clean_fid", "did you mean clean-fid?"),
        ("bench --config=x --sweep=batch,mush", "has no 'mush'; did you mean mesh?"),
        ("train --config=x --explain=compile", "did you mean compiled?"),
        # What has to be given, and what is too much.
        ("train --workdir=x", "--config is needed"),
        ("export --workdir=x", "--out is needed"),
        ("export --workdir=x --out=y --dtype=bfloat", "did you mean bfloat16?"),
        ("convert", "what, --from and --to are needed"),
        ("train --config=x y", "'y' is one argument too many"),
        ("train --config=x --config.seed", "lacks its value"),
    ],
)
def test_a_typing_error_is_one_sentence(command, said, capsys):
    assert said in refused(capsys, *command.split(" "))


@pytest.mark.parametrize("verb", VERBS)
def test_a_dash_and_an_underscore_are_alike_in_every_option(verb, capsys):
    def outcome(*argv):
        """What is understood, or the sentence that refuses it."""
        try:
            return vars(VERBS[verb]().parse_args(argv))
        except SystemExit:
            return capsys.readouterr().err

    parser = VERBS[verb]()
    for name in {*parser.option_names()} - {*parser.also, "--help"}:
        spellings = ("--" + name[2:].replace(*marks) for marks in ("-_", "_-"))
        first, second = (outcome(spelling, "x") for spelling in spellings)
        assert first == second and "there is no option" not in str(first)


def test_an_old_name_of_a_metric_still_works_and_is_reported(capsys):
    assert SomeOf(("memorization",), OLD_NAMES)("memorisation") == ("memorization",)
    assert "memorisation is now called memorization" in capsys.readouterr().err
    evaluation = evaluation_of(Path("runs"), {"metrics": "memorisation", "seeds": (0,)}, {})
    assert evaluation.metrics == ("memorization",)
    assert "memorisation is now called memorization" in capsys.readouterr().err


def test_settings_of_a_stage_may_be_typed_with_dashes():
    parser = VERBS["sample"]()
    args = parser.parse_args(
        ["a", "--workdir=x", "--prior.guidance-scale=2", "--upsampler-256.eta=0"]
    )
    assert sampling_options.sampling_settings(parser, args) == {
        "prior": {"guidance_scale": 2},
        "upsampler_256": {"eta": 0},
    }


def test_an_override_of_a_config_is_left_as_it_is_typed():
    args = VERBS["train"]().parse_args(["--config=a", "--config.data.source=folder:a-b=c d"])
    assert args.overrides == ["--config.data.source=folder:a-b=c d"]


@pytest.mark.parametrize("prompt", ["a = b", "- a list", "--a dashed text", "size=large", "—", "3"])
def test_a_prompt_may_look_a_little_like_an_option(prompt):
    assert VERBS["sample"]().parse_args([prompt, "--workdir=x"]).prompt == [prompt]


@pytest.mark.parametrize("prompt", ["-x", "--workdir=y", "n=3"])
def test_after_two_dashes_anything_is_a_prompt(prompt):
    assert VERBS["sample"]().parse_args(["--workdir=x", "--", prompt]).prompt == [prompt]


def test_a_value_of_its_own_may_hold_an_equals_sign():
    assert VERBS["train"]().parse_args(["--config=a", "--mesh", "data=4"]).mesh == "data=4"
    guided = VERBS["sample"]().parse_args(["a", "--workdir=x", "--guidance_scale", "-3"])
    assert guided.guidance_scale == -3


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_every_choice_and_default(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        VERBS[verb]().parse_args(["--no_such_option", "--help"])  # help wins
    assert ended.value.code == 0
    shown = "".join(capsys.readouterr().out.split())  # as lines are broken anywhere
    names = VERBS[verb]().option_names()
    for action in completion.options_of(verb):
        if action.option_strings and action.option_strings[-1] not in names:
            continue  # of the verb's other use
        assert all(name in shown for name in options.values_of(action))
        if action.option_strings and isinstance(action.default, int) and action.nargs != 0:
            assert f"(default:{action.default})" in shown


AT_ONCE = {
    "sample a --workdir=nowhere": "nowhere holds no run",
    "sample a --workdir=trainde": "did you mean trained?",
    "sample a --workdir=trained --image=none.png": "there is no picture none.png",
    "evaluate --workdir=nowhere": "nowhere holds no run",
    "evaluate --workdir=trained --manifest=none": "there is no caption manifest none",
    "evaluate --workdir=trained --inception=none": "--inception=none: there is no such file",
    "evaluate --fake=none --real=trained": "there is no folder or file none",
    "prepare --embeddings --workdir=nowhere": "nowhere holds no run",
    "prepare folder:none": "there is no folder none",
    "prepare emojy": "did you mean emoji",
    "train --config=tinny --workdir=x": "did you mean tiny?",
    "train --config=tiny --workdir=x --config.data.source=foldr:x": "did you mean folder",
    "train --config=tiny --workdir=x --config.data.source=folder:none": "there is no folder none",
    "train --config=tiny --workdir=x --config.decoder.train.stepz=3": "decoder.train.steps?",
    "train --config=tiny --workdir=x --config.decoder.train.steps=x": "is a whole number",
    "train --config=tiny --workdir=x --stage=decodr": "did you mean decoder?",
    "bench --config=tiny --config.sed=3": "did you mean seed?",
    "bench --config=tiny --stage=decodr": "did you mean decoder?",
    "sweep sweap.py --workdir=x": "did you mean sweep.py?",
    "sweep sweep.py --workdir=x --config.decoder.train.stepz=3": "decoder.train.steps?",
    "figure nothing_like_it": "no figure 'nothing_like_it'",
    "convert inception --from=none.pth --to=x.safetensors": "no file of weights none.pth",
    "report nowhere": "nowhere holds no sweep",
    "compare none.jsonl --metric=fid": "no file of results none.jsonl",
}


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """What is said to every verb's help, to typing errors and to `AT_ONCE`, and what is imported.

    In one process for all of them, as its start is what takes time.
    """
    folder = tmp_path_factory.mktemp("answered")
    (folder / "trained/decoder").mkdir(parents=True)
    (folder / "trained/decoder/config.json").touch()
    (folder / "sweep.py").write_text(
        "from dalle_jax.sweeps.grid import Sweep\n\n\ndef get_sweep(scale):\n"
        "    return Sweep(config='tiny', points=[{}])\n"
    )
    code = (
        "import sys, contextlib, io, json\n"
        "from dalle_jax.cli import main\n"
        "said = {}\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    verb, *argv = command.split(' ')\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):\n"
        "        try: main.exit_code(verb, lambda: main.run_verb(verb, argv))\n"
        "        except SystemExit: pass\n"
        "    said[command] = out.getvalue()\n"
        f"print(json.dumps([said, sorted({HEAVY} & set(sys.modules))]))"
    )
    slips = ("--help", "--no_such_option=1", "--workdir=", "-x")
    commands = [f"{verb} {slip}" for verb in main.VERBS for slip in slips]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([*commands, *AT_ONCE])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", AT_ONCE)
def test_what_is_not_there_is_one_sentence_at_once(command, answered):
    said = answered[0][command]
    assert AT_ONCE[command] in said and said.count("\n") == 1


def test_nothing_heavy_is_imported_for_help_or_for_a_typing_error(answered):
    assert answered[1] == []


def test_the_names_in_help_are_those_of_the_tables():
    import inspect

    from dalle_jax.data.emoji.names import SPLITS as EMOJI_SPLITS
    from dalle_jax.data.manifest import RULES
    from dalle_jax.data.shapes.builder import PARAPHRASE
    from dalle_jax.data.shapes.builder import SPLITS as SHAPES_SPLITS
    from dalle_jax.data.shapes.captions import CAPTION_KINDS
    from dalle_jax.diffusion.samplers.ancestral import VARIANCES
    from dalle_jax.metrics import preprocess
    from dalle_jax.pipelines.arguments import FROM_IMAGE, FROM_TEXT
    from dalle_jax.runs import model_file
    from dalle_jax.stages.denoising import THRESHOLDS

    assert tuple(diffusion.SAMPLERS) == choices.SAMPLERS
    assert tuple(diffusion.SPACINGS) == choices.SPACINGS
    assert tuple(THRESHOLDS) == choices.THRESHOLDS
    assert VARIANCES == choices.VARIANCES and model_file.DTYPES == choices.DTYPES
    assert (FROM_TEXT, FROM_IMAGE) == choices.EMBEDDINGS
    assert tuple(RULES) == choices.RULES and CAPTION_KINDS == choices.CAPTIONS
    assert set(choices.SPLITS) == {*SHAPES_SPLITS, PARAPHRASE, *EMOJI_SPLITS}
    assert set(preprocess.FITS) == set(choices.FITS)
    of_samplers = {
        name
        for table, given in ((diffusion.SAMPLERS, 1), (diffusion.SPACINGS, 2))
        for function in table.values()
        for name in list(inspect.signature(function).parameters)[given:]
    }
    assert of_samplers <= set(sampling_options.SETTINGS)


@given(st.text(max_size=20))
def test_a_number_is_read_or_refused_in_a_sentence(text):
    for kind in (Number(int, 1), Number(float, 0, 1), options.number, options.hours):
        try:
            value = kind(text)
        except argparse.ArgumentTypeError as error:
            assert "number" in str(error)
        else:
            assert kind.least <= value <= kind.most and not math.isnan(value)


@given(st.lists(st.text(max_size=12), max_size=5))
def test_whatever_is_typed_is_read_or_refused_without_a_trace(argv):
    parser = Parser("verb", "what it does", "examples")
    parser.add_argument("--name", type=OneOf(("a", "b")))
    parser.add_argument("--some", type=SomeOf(("a", "b")))
    parser.add_argument("place", nargs="*")
    parser.add_prefix("--config.", "overrides")
    try:
        parser.parse_args(argv)
    except SystemExit as ended:
        assert ended.code in (0, 2)


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [
        ("workdr", ["config", "workdir"], "workdir"),
        ("Steps", ["num_inference_steps", "seed"], "num_inference_steps"),
        ("train.seed", ["data.dir", "train.seed_", "seed"], "train.seed_"),
        ("x.learning_rate", ["decoder.train.optimizer.learning_rate"], "learning_rate"),
        ("zzz", ["config", "workdir"], ""),
        ("", ["config"], ""),
    ],
)
def test_the_nearest_name_is_found(typed, known, meant):
    hint = nearest(typed, known)
    assert (meant in hint) if meant else hint == ""


def commands_of(page):
    """The commands of a page's blocks of code, with lines that go on joined."""
    text = re.sub(r"\\\n\s*", "", page.read_text("utf-8"))
    for block in re.findall(r"```(?:bash|sh|console)?\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if not re.search(r"(^|\s)dalle-jax ", line) or "…" in line:
                continue
            words = shlex.split(line, comments=True)
            if "dalle-jax" in words:
                yield words[words.index("dalle-jax") + 1 :]


PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/*.md")])


def test_the_commands_of_the_docs_are_understood(capsys):
    commands = [command for page in dict.fromkeys(PAGES) for command in commands_of(page)]
    for verb, *argv in commands:
        two = any(word.startswith("--fake") for word in argv)
        argv = list(itertools.takewhile(lambda word: word not in ("|", ">", "&&", "&"), argv))
        try:
            (evaluate_folders.make_parser if two else VERBS[verb])().parse_args(argv)
        except SystemExit as ended:
            assert not ended.code, (verb, argv, capsys.readouterr().err)
    assert len(commands) > 30
