"""Which parameters a training starts from, and which of them it trains."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from dalle_jax import console
from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.nearest import nearest
from dalle_jax.runs import Run, model_file
from dalle_jax.runs.source import open_init
from dalle_jax.seeds import key_of
from dalle_jax.stages import build_stage
from dalle_jax.stages.base import Stage
from dalle_jax.training.distributed import in_turn
from dalle_jax.training.state import Rows, Start, initial_params

# Tables with a row for each token and for each position, of `nn.embeddings.TextEmbedding`.
TABLE = re.compile(r"(^|/)embedding/(token|position)$")
SHOWN = 5  # names in a message

Shapes = Mapping[str, tuple[int, ...]]


def check_start(name: str, config: Mapping[str, Any], *, is_begun: bool) -> None:
    """Check what a stage starts from, unless its training `is_begun`, and what of it is trained.

    It reads shapes only.

    Raises:
        FileNotFoundError: there is no run at `train.init_from`.
        ValueError: its parameters are not those of the stage, or a regular expression matches none.
    """
    train = config[name]["train"]
    if not (train["init_from"] or train["freeze"]):
        return
    wanted = shapes_of(build_stage(name, config))
    if train["init_from"] and not is_begun:
        with open_init(train["init_from"], name) as source:
            names_taken(name, train, wanted, source)
    if train["freeze"]:
        frozen = matching(f"config.{name}.train.freeze", train["freeze"], wanted)
        if len(frozen) == len(wanted):
            raise ValueError(
                f"config.{name}.train.freeze={train['freeze']!r} matches all parameters of {name}, "
                "so that nothing would be trained"
            )
        count = sum(int(np.prod(wanted[one])) for one in frozen)
        total = sum(int(np.prod(shape)) for shape in wanted.values())
        console.note(
            f"{name}: {count:,} of {total:,} parameters are frozen ({len(frozen)} of {len(wanted)} "
            f"arrays match {train['freeze']!r})"
        )


def load_start(run: Run, tokenizer: Tokenizer) -> dict[str, Any]:
    """The arrays that a run starts from by path, `Rows` of tables of another size or tokenizer.

    None unless its config has `train.init_from`, and none once it has a checkpoint.

    Raises:
        ValueError: what is there are not the weights that were there when the run was made.
    """
    name, train = run.stage_name, run.config[run.stage_name]["train"]
    if not train["init_from"] or run.step:
        return {}
    with open_init(train["init_from"], name) as source:
        if source.checkpoint_name != run.history["init_from"]:
            raise ValueError(
                f"{source.directory} is {source.checkpoint_name} now, and {run.directory} is to "
                f"start from {run.history['init_from']}; start in another --workdir"
            )
        wanted = shapes_of(run.build_stage())
        names = names_taken(name, train, wanted, source)
        there, theirs = _flat(source.load_params()), Tokenizer.load(source.tokenizer_path)
    same_tokens = tokenizer.vocabulary() == theirs.vocabulary()
    start, sentences = {}, []
    for one in names:
        array, is_tokens = there[one], one.endswith("/token") and TABLE.search(one) is not None
        if array.shape == wanted[one] and (same_tokens or not is_tokens):
            start[one] = array
            continue
        rows = _token_rows(theirs, tokenizer) if is_tokens else _first_rows(len(array))
        rows = rows[:, (rows[0] < len(array)) & (rows[1] < wanted[one][0])]
        start[one] = Rows(rows[1], np.asarray(array)[rows[0]])
        what = "tokens" if is_tokens else "positions"
        sentences.append(
            f"{one} takes the rows of {rows.shape[1]} {what} that both have, and begins with "
            f"random ones for the other {wanted[one][0] - rows.shape[1]}"
        )
    text = f"{name} starts from {len(names)} of {len(wanted)} arrays of {train['init_from']} "
    console.note("; ".join([f"{text}({run.history['init_from']})", *sentences]))
    return start


def load_base(run: Run, stage: Stage, start: Start) -> Any:
    """The weights that a run's adapters adapt; the first call writes them into the run.

    Raises:
        FileNotFoundError: they are not there any more.
    """
    key, _ = jax.random.split(key_of(run.config["seed"]))
    if run.step and not run.base_path.exists():
        raise FileNotFoundError(f"{run.base_path} is missing, which the adapters there adapt")
    with in_turn(f"write the base of {run.stage_name}"):
        if not run.base_path.exists():
            params = jax.jit(partial(initial_params, stage))(key, start)
            model_file.write(run.base_path, params, {}, "float32")
    return model_file.read_params(run.base_path, jax.eval_shape(stage.init, key))


def shapes_of(stage: Stage) -> Shapes:
    """The shapes of a stage's parameters by path."""
    shapes = jax.eval_shape(stage.init, jax.random.key(0))
    return {name: leaf.shape for name, leaf in _flat(shapes).items()}


def names_taken(name: str, train: Mapping[str, Any], wanted: Shapes, source: Run) -> list[str]:
    """The parameters of a stage that start as those of `source`: all, or those of `init_only`.

    Raises:
        ValueError: `init_only` matches none, or one that it matches is missing on either side or
            of another shape; a table of token or position embeddings may have another length.
    """
    found = shapes_of(source.build_stage())
    known, only = [*wanted, *(one for one in found if one not in wanted)], train["init_only"]
    names = matching(f"config.{name}.train.init_only", only, known) if only else known
    problems = {
        "missing there": [one for one in names if one not in found],
        f"no parameter of {name}": [one for one in names if one not in wanted],
        "of another shape": [
            f"{one} ({list(found[one])} there, {list(wanted[one])} here)"
            for one in names
            if one in found and one in wanted and not _fits(one, found[one], wanted[one])
        ],
    }
    said = [f"{kind}: {_listed(ones)}" for kind, ones in problems.items() if ones]
    if said:
        raise ValueError(
            f"{name} can't start from {source.directory}; {'; '.join(said)}. Give it the settings "
            f"of the model there, or name what to take by config.{name}.train.init_only"
        )
    return names


def matching(setting: str, pattern: str, names: Any) -> list[str]:
    """The names in which a regular expression is found.

    Raises:
        ValueError: it is found in none.
    """
    found = [name for name in names if re.search(pattern, name)]
    if not found:
        tops = list(dict.fromkeys(name.split("/")[0] for name in names))
        hint = nearest(pattern.strip("^$/.*"), [*tops, *names])
        hint = hint or f"; names begin with {', '.join(tops)}"
        raise ValueError(f"{setting}={pattern!r} matches no parameter{hint}")
    return found


def _fits(name: str, there: tuple[int, ...], here: tuple[int, ...]) -> bool:
    return there == here or bool(TABLE.search(name) and there[1:] == here[1:])


def _token_rows(theirs: Tokenizer, ours: Tokenizer) -> np.ndarray:
    """[2, n]: of the n tokens that both have, the id there and here."""
    there, here = theirs.vocabulary(), ours.vocabulary()
    return np.array([[there[token], here[token]] for token in here if token in there]).T


def _first_rows(count: int) -> np.ndarray:
    return np.stack([np.arange(count)] * 2)


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
