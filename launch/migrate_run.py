"""Bring run directories of format 1 to format 2.

    python launch/migrate_run.py runs/features/classifier runs/unclip/upsampler

Settings that came since get the value that the run was trained with, those that are constants now
are left out, and the fingerprint is computed anew. So evaluations of the run are measured anew, and
stored embeddings of it have to be made again (`dalle-jax prepare --embeddings`). A run that was
trained to read captions has to be trained anew: their padding was read, and is masked now.
"""

import argparse
import copy
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from dalle_jax.runs import Run
from dalle_jax.training import pending

FROM, TO = 1, 2

# Settings that format 1 could lack, with the value that they had then.
ADDED: dict[str, dict[str, Any]] = {
    "data": {
        "encoding": "utf-8",
        "image_column": "",
        "caption_column": "",
        "min_side": 0,
        "max_aspect_ratio": 0.0,
        "disk_cache": 0.0,
    },
    "clip.model": {"scan_blocks": False},
    "prior.model": {"scan_blocks": False},
    "decoder.model": {
        "scan_blocks": False,
        "image_size": 0,
        "text": {"width": 96, "depth": 0, "num_heads": 3},
        "image_embedding": {"num_tokens": 0},
        "layout": {"size": 0, "width": 128, "depth": 3, "num_heads": 4},
    },
    "decoder.diffusion": {
        "num_timesteps": 0,
        "learned_variance": False,
        "zero_terminal_snr": False,
    },
    "decoder.loss": {"embedding_dropout": 0.1},
}
# Settings of format 1 that are constants now.
CONSTANTS: dict[str, dict[str, Any]] = {
    "clip.loss": {"temperature": 0.07, "max_logit_scale": 100.0},
    "prior.model": {"embedding_rms": 0.5375},
    "joint.loss": {"sample_share": 0.5, "prior_weight": 1.0},
}


def migrate(directory: Path) -> str:
    """Rewrite the files of one run; what was done, in a sentence.

    Raises:
        ValueError: it is no run of format 1, or one that this version can't train or draw with.
    """
    path = directory / "config.json"
    document = json.loads(path.read_text())
    if document["format"] == TO:
        return f"{directory} is of format {TO} already"
    if document["format"] != FROM:
        raise ValueError(f"{directory} is of format {document['format']}, which is not known here")
    stage = document["stage"]
    run = Run(directory, stage, migrated(document["config"]))
    _check_weights(run)
    if (former := directory / "due.json").exists():
        left = json.loads(former.read_text())
        pending.write(directory, left["step"], left["left"])
        former.unlink()
    before = (directory / "fingerprint").read_text().strip()
    document |= {"format": TO, "config": run.config}
    (directory / "fingerprint").write_text(run.fingerprint + "\n")
    temporary = path.with_name("config.json.tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    temporary.replace(path)
    return f"{directory} is of format {TO} now, and its fingerprint {run.fingerprint}, not {before}"


def _check_weights(run: Run) -> None:
    """Refuse weights of another network than this version builds.

    Captions are read without their padding since format 2, which has no parameters of its own any
    more: weights of format 1 of a stage that reads captions mean something else.
    """
    built = jax.eval_shape(run.build_stage().init, jax.random.key(0))
    if not run.step:
        return
    names = [
        {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (run.load_params(), built))
    ]
    if different := sorted(names[0] ^ names[1]):
        raise ValueError(
            f"its weights are of another network than {run.stage_name} is now: {different[0]} is "
            f"only in {'the run' if different[0] in names[0] else 'this version'}; train it anew"
        )


def migrated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A whole config of format 1 in the form of format 2.

    Raises:
        ValueError: a setting that is a constant now had another value.
    """
    config = copy.deepcopy(dict(config))
    for name, values in ADDED.items():
        for setting, value in values.items():
            section = _section(config, name)
            if section is not None:
                section.setdefault(setting, copy.deepcopy(value))
    for name, values in CONSTANTS.items():
        for setting, value in values.items():
            found = (_section(config, name) or {}).pop(setting, value)
            if found != value:
                raise ValueError(
                    f"config.{name}.{setting} is {found}, and is always {value} now: use the "
                    "version of dalle_jax that made the run, or train it anew"
                )
    return config


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    section: Any = config
    for part in name.split("."):
        section = section.get(part)
        if section is None:
            return None
    return section


def main(argv: Sequence[str]) -> int:
    """Migrate each directory that is named; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="+", help="a run directory, WORKDIR/STAGE")
    code = 0
    for directory in parser.parse_args(argv).run:
        try:
            print(migrate(directory))
        except (OSError, ValueError, KeyError) as error:
            print(f"{directory}: {error}", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
