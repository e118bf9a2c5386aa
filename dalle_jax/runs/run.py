"""One trained stage on disk: its config, its weights, the stages below it, and its data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax

from dalle_jax.runs import model_file
from dalle_jax.runs.fingerprint import dependencies, differing_settings, fingerprint
from dalle_jax.runs.history import History, Phase, phases_of, read_history
from dalle_jax.runs.nearby import nearby
from dalle_jax.runs.opening import RunData
from dalle_jax.stages import Stage, build_stage, data_of, upstream_of
from dalle_jax.training.finished import steps_in
from dalle_jax.training.lora import adapted, init_adapters

FORMAT = 2  # of a run directory; one of another format is refused
MIGRATION = "launch/migrate_run.py"  # brings a run of format 1 to this one


@dataclass(frozen=True)
class Run(RunData):
    """A run directory that exists, and the config it was made with.

    Attributes:
        moved_to: where its data lies now, as `config.data.source` would name it; "" for where its
            config says.
    """

    directory: Path
    stage_name: str
    config: Mapping[str, Any]
    moved_to: str = ""

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits; runs with the same one hold the same weights."""
        return fingerprint(self.stage_name, self.config, self.history)

    @property
    def history(self) -> History:
        """What its weights depend on besides its config, see `history`."""
        return read_history(self.directory)

    @property
    def phases(self) -> list[Phase]:
        """The parts of its training, one unless it went on with other settings."""
        return phases_of(self.config[self.stage_name]["train"], self.history)

    @property
    def steps(self) -> int:
        """At which its training ends."""
        return self.phases[-1].end

    @property
    def data(self) -> dict[str, Any]:
        """The data section of its config."""
        return data_of(self.stage_name, self.config)

    @property
    def step(self) -> int:
        """The newest checkpoint's step, or that of a model file; 0 if there is neither yet."""
        if steps := steps_in(self.directory / "checkpoints"):
            return steps[-1]
        return model_file.read_header(self.model_path)["step"] if self.is_exported else 0

    @property
    def model_path(self) -> Path:
        """Where the weights of a run that `save_pretrained` wrote are."""
        return self.directory / model_file.NAME

    @property
    def is_exported(self) -> bool:
        """Whether its weights are in a model file, without the state of a training."""
        return self.model_path.exists() and not steps_in(self.directory / "checkpoints")

    @property
    def checkpoint_name(self) -> str:
        """Identifies the weights of the newest checkpoint, or of a model file."""
        return " ".join(filter(None, (self.fingerprint, f"step {self.step}", self.exported_as)))

    @property
    def exported_as(self) -> str:
        """How an exported run's weights differ from its checkpoint's EMA: "raw", "ema bfloat16"."""
        if not self.is_exported:
            return ""
        header = model_file.read_header(self.model_path)
        return model_file.name_of(header["weights"], header["dtype"])

    @property
    def lora(self) -> Mapping[str, Any]:
        """`train.lora` of its config; rank 0 where it has no adapters, as all earlier runs."""
        return self.config[self.stage_name]["train"].get("lora", {"rank": 0})

    @property
    def base_path(self) -> Path:
        """Where the weights are that its adapters adapt, if it has adapters."""
        return self.directory / "base.safetensors"

    def embeddings_path(self, split: str) -> Path:
        """Where a CLIP run's stored image embeddings are, if they were made."""
        return self.directory / "embeddings" / f"{split}.array_record"

    def build_stage(self) -> Stage:
        """The stage, built anew from the config.

        Raises:
            ValueError: the config lacks a setting or has one that the stage does not take.
        """
        return build_stage(self.stage_name, self.config)

    def load_params(self, weights: Literal["ema", "raw"] = "ema") -> Any:
        """The weights of the newest checkpoint: averaged over training, or raw.

        Those of a run with adapters are its base with the adapters merged in.

        Raises:
            FileNotFoundError: the run has no checkpoint yet, or its adapters no base.
        """
        params = self.load_trained(weights)
        header = model_file.read_header(self.model_path) if self.is_exported else {}
        if not self.lora["rank"] or (header and not header.get("adapters")):
            return params
        if not header:
            base = model_file.read_params(self.base_path, self._shapes())
        else:
            from dalle_jax.runs.source import load_init  # it imports this

            base = load_init(self)
        return adapted(base, params, self.lora["alpha"] / self.lora["rank"])

    def _shapes(self) -> Any:
        return jax.eval_shape(self.build_stage().init, jax.random.key(0))

    def load_trained(self, weights: Literal["ema", "raw"] = "ema") -> Any:
        """What the newest checkpoint or the model file holds: weights, or adapters alone.

        Raises:
            FileNotFoundError: the run has no checkpoint yet.
        """
        if not self.step:
            raise FileNotFoundError(
                f"{self.directory} has no checkpoint yet; train it first with `dalle-jax train`"
            )
        if self.is_exported:
            header = model_file.read_header(self.model_path)
            stored, wanted = header["weights"], self._shapes()
            if weights == "raw" != stored:
                raise FileNotFoundError(
                    f"{self.model_path} holds {stored} weights only; export raw ones from the "
                    "run that it was made of"
                )
            if header.get("adapters"):
                init = partial(init_adapters, params=wanted, rank=self.lora["rank"])
                wanted = jax.eval_shape(init, jax.random.key(0))
            return model_file.read_params(self.model_path, wanted)
        from dalle_jax.training.checkpoint import load_params  # it brings Orbax along

        return load_params(self.directory / "checkpoints", weights=weights)

    def upstream(self) -> "dict[str, Run]":
        """The runs that this one needs, in the same workdir, trained to their end.

        Raises:
            FileNotFoundError: one is not there.
            ValueError: one does not fit this run's config, or is not trained to its end.
        """
        return {
            name: self._fitting(name, open_run(self.directory.parent / name))
            for name in upstream_of(self.stage_name, self.config)
        }

    def load_frozen(self) -> dict[str, Any]:
        """The EMA weights of the runs that this one needs, by stage."""
        return {name: run.load_params() for name, run in self.upstream().items()}

    def _fitting(self, name: str, run: "Run") -> "Run":
        if differences := run.differences(name, self.config):
            raise ValueError(
                f"{self.stage_name} in {self.directory} does not fit {name} in {run.directory}: "
                f"{'; '.join(differences)}. Train {name} anew in another --workdir, or give "
                f"{self.stage_name} the config that {name} was trained with"
            )
        if run.step < run.steps:
            raise ValueError(
                f"{self.stage_name} needs {name} trained to its end, and {run.directory} is at "
                f"step {run.step} of {run.steps}; go on with `dalle-jax train --stage={name}`"
            )
        trained_on = self.history.get("upstream", {}).get(name, {})
        if (self.directory / "config.json").exists() and trained_on != run.history:
            raise ValueError(
                f"{self.directory} was trained on other weights of {name} than those of "
                f"{run.directory}, which are {run.checkpoint_name}: one went on with other "
                f"settings since. Train {self.stage_name} anew in another --workdir"
            )
        both = [r.tokenizer_path for r in (self, run) if r.tokenizer_path.exists()]
        if len({path.read_text() for path in both}) > 1:
            raise ValueError(
                f"{self.stage_name} in {self.directory} was trained with another tokenizer.json "
                f"than {name} in {run.directory}; train one of them anew in another --workdir"
            )
        return run

    def differences(self, stage_name: str, config: Mapping[str, Any]) -> list[str]:
        """By which settings weights of `stage_name` under `config` would differ from this run's.

        Each as `decoder.train.batch_size is 16 there, 48 given`; none if they would be the same.
        """
        there = dependencies(self.stage_name, self.config)
        return differing_settings(there, dependencies(stage_name, config))


def open_run(directory: str | Path) -> Run:
    """The run in a directory.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: it is no run of this version.
    """
    directory = Path(directory).expanduser()
    path = directory / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{directory} holds no run (it has no config.json){nearby(path.parent)}; train one "
            "with `dalle-jax train`"
        )
    try:
        document = json.loads(path.read_text())
        found, stage, config = document["format"], document["stage"], document["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the config of a run: {error!r}") from error
    if found != FORMAT:
        raise ValueError(
            f"{directory} is a run of format {found}, and this version reads format {FORMAT}: "
            + (
                f"bring it there with `python {MIGRATION} {directory}`"
                if found == FORMAT - 1
                else "use the version of dalle_jax that made it"
            )
        )
    return Run(directory, stage, config)
