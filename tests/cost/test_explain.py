"""`dalle-jax train --explain`: the numbers printed, against the stage's own shapes."""

import re
import subprocess
import sys

import jax
import pytest

from dalle_jax.config.load import load_config
from dalle_jax.cost.explain import explain, rule_lines
from dalle_jax.cost.flops import step_flops
from dalle_jax.stages import build_stage
from dalle_jax.training.sharding import abstract_mesh
from tests.conftest import ONE_DEVICE, ROOT

OVERRIDES = ["--config.clip.model.text.width=64", "--config.clip.train.remat=blocks"]


def numbers(line: str) -> list[float]:
    return [float(x.replace(",", "")) for x in re.findall(r"\s(\d[\d,]*\.?\d*)", line)]


def test_what_is_printed_adds_up(capsys):
    config = load_config(ROOT / "configs/unclip_tiny.py", OVERRIDES).to_dict()
    explain(["clip"], config, "data=2,fsdp=4", False)
    text = capsys.readouterr().out
    lines = text.splitlines()
    params = jax.eval_shape(build_stage("clip", config).init, jax.random.key(0))
    leaves = jax.tree.leaves(params)
    elements = sum(leaf.size for leaf in leaves)

    everything = next(line for line in lines if line.startswith("all   "))
    assert numbers(everything)[-2:] == [len(leaves), elements]
    rules = [line for line in lines if re.match(r"(biases|layers|all others)", line)]
    assert sum(numbers(line)[-1] for line in rules) == elements
    assert any(re.search(r"block_\*/mlp_in/kernel +0:fsdp +1 +16,384", line) for line in lines)

    table = lines[next(i for i, line in enumerate(lines) if line.startswith("memory")) + 1 :]
    table = [numbers(line) for line in table[: table.index("")]]
    # Rounded to a tenth of a MiB each.
    assert sum(part[-1] for part in table[:-1]) == pytest.approx(
        table[-1][-1], abs=0.06 * len(table)
    )
    assert table[0][0] == pytest.approx(4 * elements / 2**20, abs=0.06)
    assert "the block that is computed again" in text
    printed = float(re.search(r"optimizes\): ([\d.]+) GFLOP", text)[1])
    # Blocks are computed again: more than a step without, and less than half as much again.
    assert 1.05 < printed * 1e9 / step_flops("clip", config) < 1.5


def test_stacked_blocks_have_lines_of_their_own():
    overrides = [*OVERRIDES, "--config.clip.model.scan_blocks=True"]
    config = load_config(ROOT / "configs/unclip_tiny.py", overrides).to_dict()
    params = jax.eval_shape(build_stage("clip", config).init, jax.random.key(0))
    lines = list(rule_lines(params, abstract_mesh({"fsdp": 4}, 4)))
    own = [line for line in lines if line.startswith("stacked")]
    assert len(own) == 2 and not any(line.startswith("layers that close") for line in lines)
    assert any(re.search(r"blocks/mlp_in/kernel +1:fsdp +1 +16,384", line) for line in lines)
    rules = [line for line in lines[1:-1] if not line.startswith("  ")]
    assert sum(numbers(line)[-1] for line in rules) == numbers(lines[-1])[-1]


@pytest.mark.parametrize(
    "mesh, told",
    [
        ("fsdp", "--mesh=fsdp is not understood"),
        ("data=-1", "leaves a size open"),
        ("model=8", "mesh axis 'model' is unknown"),
        ("fsdp=5", "a batch of 8 can't be cut .* data x fsdp = 5"),
    ],
)
def test_a_mesh_that_can_not_be_is_refused(mesh, told):
    config = load_config(ROOT / "configs/unclip_tiny.py").to_dict()
    with pytest.raises(ValueError, match=told):
        explain(["clip"], config, mesh, False)


@pytest.mark.long  # it compiles for four devices
def test_a_step_over_a_tensor_mesh_is_compiled_and_told():
    command = [
        *(sys.executable, "-m", "dalle_jax", "train", f"--config={ROOT / 'configs/tiny.py'}"),
        *("--explain=compiled", "--mesh=fsdp=2,tensor=2"),
        "--config.decoder.model.text.width=64",  # wide enough to be cut
    ]
    done = subprocess.run(command, env=ONE_DEVICE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"^([a-z-]+) +([\d,]+) of them, results .* MiB$", done.stdout, re.MULTILINE)
    assert {"all-gather", "all-reduce", "collective-permute"} <= {kind for kind, _ in told}
    assert all(int(count.replace(",", "")) > 0 for _, count in told)
