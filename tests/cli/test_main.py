"""`dalle-jax` itself: verbs, versions, output that can't be shown, devices that are not there."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console
from rich.table import Table

import dalle_jax
from dalle_jax import console, cpu, devices
from dalle_jax.cli import main
from tests.conftest import ONE_DEVICE, ROOT


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(cpu, "restart_with_heap", lambda: None)


def run(*argv):
    """The exit code."""
    with pytest.raises(SystemExit) as ended:
        main.main(list(argv))
    return ended.value.code


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["trian"], "there is no verb 'trian'; did you mean train?"),
        (["Train"], "did you mean train?"),
        (["evalute", "--workdir=x"], "did you mean evaluate?"),
        (["help", "swep"], "did you mean sweep?"),
        (["hlep"], "did you mean help?"),
        (["--verison"], "there is no option '--verison'; did you mean --version?"),
        (["zzz"], "known are prepare, train, bench"),
    ],
)
def test_an_unknown_verb_is_named_with_the_nearest(argv, said, capsys):
    assert run(*argv) == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.err.count("\n") == 1 and not shown.out


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["--help"], 0), (["-h"], 0), (["help"], 0), (["help", "help"], 0), ([], 2)],
)
def test_help_lists_the_verbs(argv, code, capsys):
    assert run(*argv) == code
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in main.VERBS)


@pytest.mark.parametrize("verb", main.VERBS)
def test_help_of_a_verb_is_what_its_own_help_option_shows(verb, capsys):
    assert run("help", verb) == 0
    shown = capsys.readouterr().out
    assert run(verb, "--help") == 0
    assert capsys.readouterr().out == shown and f"usage: dalle-jax {verb}" in shown
    assert f"dalle-jax {verb} " in shown.split("\nexample", 1)[1]


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_the_package_s(option, capsys):
    assert run(option) == 0
    assert capsys.readouterr().out == f"dalle-jax {dalle_jax.__version__}\n"


ENCODINGS = ("ascii", "cp1252", "latin-1", "shift_jis")


class Narrow:
    """A standard output that can't show everything."""

    def __init__(self, monkeypatch, encoding):
        self._bytes, self._encoding = io.BytesIO(), encoding
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(self._bytes, encoding))
        console.show_anything()

    def text(self):
        sys.stdout.flush()
        return self._bytes.getvalue().decode(self._encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", ["95 % – 97 %", "a → b, 3 × 4 …", "红色的圆 🔴", "\udcff"])
def test_what_a_stream_can_not_show_ends_nothing(text, encoding, monkeypatch):
    narrow = Narrow(monkeypatch, encoding)
    print(text)
    print("and goes on")
    assert narrow.text().splitlines()[-1] == "and goes on"


def test_dashes_and_arrows_have_a_plain_form(monkeypatch):
    narrow = Narrow(monkeypatch, "ascii")
    print("0.1 – 0.2 … × → 红")
    assert narrow.text() == "0.1 - 0.2 ... x -> \\u7ea2\n"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_is_shown_where_lines_can_not_be_drawn(encoding, monkeypatch):
    narrow = Narrow(monkeypatch, encoding)
    table = Table("caption", "95 % interval")
    table.add_row("红色的圆", "0.1 – 0.2")
    Console().print(table)
    assert "caption" in narrow.text()


class Closed(io.StringIO):
    """A standard output whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def test_who_stops_to_read_gets_no_trace(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Closed())
    assert run("--help") == console.CLOSED
    assert run("train", "--help") == console.CLOSED
    assert capsys.readouterr().err == ""


def test_a_closed_pipe_ends_the_process_silently():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "dalle_jax", "help", "sample"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (console.CLOSED, "")


def raiser(error):
    def verb():
        raise error

    return verb


def raised_in(filename, error):
    """An error that a file raised."""
    try:
        exec(compile("raise error", filename, "exec"), {"error": error})
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("platforms", "said"),
    [
        ("cuda", "no GPU is there or jax[cuda12] is not installed; unset JAX_PLATFORMS"),
        ("gpu", "no GPU is there or jax[cuda12] is not installed; unset JAX_PLATFORMS"),
        ("tpu", "no TPU is there or jax[tpu] is not installed; unset JAX_PLATFORMS"),
        ("rocm", "no AMD GPU is there"),
        ("cudaa", "'cudaa', which is no platform of jax; did you mean cuda?"),
        ("CPU", "did you mean cpu?"),
        ("nvidia", "no platform of jax; known are cpu, cuda, gpu, rocm, tpu"),
        ("", "jax starts no device: the driver is too old"),
    ],
)
@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
def test_a_device_that_is_not_there_is_one_sentence(platforms, said, kind, monkeypatch, capsys):
    error = raised_in("/x/jax/_src/xla_bridge.py", kind("the driver is too old"))
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert main.exit_code("sample", raiser(error)) == 1
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError, TypeError])
def test_a_fault_of_ours_keeps_its_trace(kind):
    with pytest.raises(kind, match="a bug"):
        main.exit_code("sample", raiser(kind("a bug")))


@pytest.mark.parametrize("platforms", ["", "cpu", "cuda,cpu"])
def test_platforms_that_can_be_had_pass(platforms):
    devices.check_platforms(platforms)


@pytest.mark.skipif(not cpu.on_cpu({}), reason="there is an accelerator")
def test_jax_itself_raises_what_is_explained():
    command = [sys.executable, "-m", "dalle_jax", "bench", f"--config={ROOT}/configs/tiny.py"]
    environ = {**ONE_DEVICE, "JAX_PLATFORMS": "cuda"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "unset JAX_PLATFORMS" in done.stderr
