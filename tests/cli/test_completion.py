"""What a shell completes, asked of bash itself with the script that is printed."""

import shutil
import subprocess

import pytest

from dalle_jax.cli import completion, main
from dalle_jax.config import choices

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script():
    return completion.bash()


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


pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash")


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


def test_a_shell_that_keeps_words_whole_at_equals_signs_gets_whole_words(script):
    assert completed(script, "sweep", "--scale=s", breaks=" ") == ["--scale=small"]
    assert completed(script, "sweep", "--max_hours=", breaks=" ") == []


@pytest.mark.parametrize("verb", main.VERBS)
def test_every_option_of_a_verb_is_offered(verb, script):
    offered = completed(script, verb, "--")
    names = {
        name
        for action in completion._actions(verb)
        for name in action.option_strings
        if name.startswith("--")
    }
    assert {name.removesuffix("=") for name in offered} == names and "--help" in names


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_has_a_script(shell, capsys):
    assert completion.run([shell]) == 0
    printed = capsys.readouterr().out
    assert "dalle-jax" in printed and all(verb in printed for verb in main.VERBS)


def test_the_script_for_fish_has_a_line_for_each_option():
    lines = completion.fish().splitlines()
    assert any("from sweep' -l scale -x -a 'tiny small paper'" in line for line in lines)
    assert any("from sample' -l out -r" in line for line in lines)
    assert any(line.endswith("from sweep' -l dry-run") for line in lines)
    assert all(line.startswith("complete -c dalle-jax ") for line in lines)
