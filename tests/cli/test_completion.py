"""What a shell completes, asked of bash, zsh and fish with the scripts that are printed."""

import os
import shutil
import subprocess

import pytest

from dalle_jax.cli import completion, main
from dalle_jax.config import choices
from tests.conftest import PATIENCE

BASH, ZSH, FISH = map(shutil.which, completion.SHELLS)
needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash")


@pytest.fixture(scope="module")
def script():
    return completion.script("bash")


def completed(script, *words, breaks="\"'@><=;|&(: \t\n"):
    """What bash offers for the last of some words, which come apart as bash takes them apart."""
    apart = []
    for word in words:
        name, equals, value = word.partition("=")
        split = equals and "=" in breaks
        apart += [name, "=", *([value] if value else [])] if split else [word]
    quoted = " ".join(f"'{word}'" for word in apart)
    asked = f"{script}\nCOMP_WORDS=(dalle-jax {quoted}); COMP_CWORD={len(apart)}; _dalle_jax\n"
    asked += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run([BASH, "--norc", "-c", asked], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], ["train"]),
        (["c"], ["compare", "convert", "completion"]),
        (["--v"], ["--version"]),
        (["help", "swe"], ["sweep"]),
        (["train", "--work"], ["--workdir="]),
        (["sweep", "--dry"], ["--dry-run"]),
        (["sweep", "--scale="], list(choices.SCALES)),
        (["sweep", "--scale=s"], ["small"]),
        (["sweep", "--scale", "s"], ["small"]),
        (["sample", "--sampler=dpmpp_"], [n for n in choices.SAMPLERS if n.startswith("dpmpp_")]),
        (["sample", "a", "--workdir=x", "--spacing=k"], ["karras"]),
        (["train", "--config=quick"], ["quickstart"]),
        (["train", "--config=dalle2/cl"], ["dalle2/clip"]),
        (["figure", "ddim_s"], ["ddim_steps"]),
        (["figure", "--dry-run", "ddim_s"], ["ddim_steps"]),
        (["convert", "inc"], ["inception"]),
        (["prepare", "emo"], ["emoji"]),
        (["prepare", "captioned_shapes/f"], ["captioned_shapes/full"]),
        (["evaluate", "--fak"], ["--fake="]),
        (["evaluate", "--metrics=fid,k"], ["fid,kid"]),
        (["evaluate", "--metrics=fid,kid,pr"], ["fid,kid,prdc"]),
        (["completion", ""], list(completion.SHELLS)),
        # Names of files, which bash finds by itself.
        (["train", "--workdir=/tm"], []),
        (["sample", "--out", "x"], []),
    ],
)
def test_bash_offers(words, offered, script):
    assert completed(script, *words) == offered


@needs_bash
def test_a_shell_that_keeps_words_whole_at_equals_signs_gets_whole_words(script):
    assert completed(script, "sweep", "--scale=s", breaks=" ") == ["--scale=small"]
    assert completed(script, "sweep", "--max_hours=", breaks=" ") == []


@needs_bash
@pytest.mark.parametrize("verb", main.VERBS)
def test_every_option_of_a_verb_is_offered(verb, script):
    offered = completed(script, verb, "--")
    names = {
        name
        for action in completion.options_of(verb)
        for name in action.option_strings
        if name.startswith("--")
    }
    assert {name.removesuffix("=") for name in offered} == names and "--help" in names


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_has_a_script(shell, capsys):
    assert completion.run([shell]) == 0
    printed = capsys.readouterr().out
    assert "dalle-jax" in printed and all(verb in printed for verb in main.VERBS)


# What is typed, and what it is after the key that completes; a space behind what is whole.
TYPED = {
    "tr": "train ",
    "--v": "--version ",
    "help swe": "help sweep ",
    "train --workdi": "train --workdir=",
    "train --print_c": "train --print_config ",
    "sweep --dry": "sweep --dry-run ",
    "sweep --scale=s": "sweep --scale=small ",
    "sweep --scale s": "sweep --scale small ",
    "train --config=dalle2/cl": "train --config=dalle2/clip ",
    "sample a --workdir=x --spacing=k": "sample a --workdir=x --spacing=karras ",
    "sample train --from_": "sample train --from_png=",
    "sample train --stag": "sample train --stag",  # a caption that is a verb's name
    "figure --dry-run ddim_s": "figure --dry-run ddim_steps ",
    "prepare captioned_shapes/f": "prepare captioned_shapes/full ",
    "evaluate --metrics=k": "evaluate --metrics=kid ",
    "evaluate --metrics=fid,k": "evaluate --metrics=fid,kid ",
    "evaluate --metrics fid,kid,pr": "evaluate --metrics fid,kid,prdc ",
    "train --workdir=a_fo": "train --workdir=a_folder/",
    "sample --out a_fo": "sample --out a_folder/",
    "compare a_fo": "compare a_folder/",
}


# A terminal in which a key completes and another shows what is in the line.
TERMINAL = """zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PROMPT=; source script; shown() { BUFFER="echo LINE:${(qqq)BUFFER}:END"; zle accept-line
}; zle -N shown; bindkey "^X" shown; dalle-jax() { : }; stty -echo; print READY'
until [[ $line == READY* ]]; do zpty -r z line; done
for typed in "$@"; do
    zpty -w -n z "dalle-jax $typed"$'\\t\\x18'
    until [[ $line == *LINE:*:END* && $line != *echo* ]]; do zpty -r z line; done
    print -r -- "${${line#*LINE:dalle-jax }%:END*}"
    line=
done
zpty -d z
"""


def in_shell(command, home):
    """What a shell prints that reads no settings of the user's and leaves none."""
    env = {**os.environ, "HOME": str(home), "ZDOTDIR": str(home), "XDG_CONFIG_HOME": str(home)}
    options = {"cwd": home, "env": env, "capture_output": True, "text": True, "timeout": PATIENCE}
    return subprocess.run(command, **options)


@pytest.mark.skipif(ZSH is None, reason="there is no zsh")
def test_zsh_completes(tmp_path):
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "script").write_text(completion.script("zsh"))
    command = [ZSH, "-f", "-c", TERMINAL, "-", *TYPED]
    done = in_shell(command, tmp_path)
    assert done.stdout.splitlines() == list(TYPED.values()), done


@pytest.mark.skipif(FISH is None, reason="there is no fish")
def test_fish_completes(tmp_path):
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "script").write_text(completion.script("fish"))
    asked = "source script; for line in $argv; complete -C $line; echo end; end"
    command = [FISH, "--no-config", "-c", asked, *(f"dalle-jax {typed}" for typed in TYPED)]
    done = in_shell(command, tmp_path)
    assert not done.stderr
    offered = [text.partition("\t")[0].strip() for text in done.stdout.split("end\n")]
    # Of the last word; fish itself adds the space or the = behind it.
    words = {typed: whole.split()[-1].removesuffix("=") for typed, whole in TYPED.items()}
    assert dict(zip(TYPED, offered)) == {t: "" if t == TYPED[t] else w for t, w in words.items()}
