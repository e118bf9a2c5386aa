"""A run directory: one trained stage on disk, and the only door to it.

<run>/config.json     stage, project version and the whole config
<run>/fingerprint     hash of all that the trained weights depend on
<run>/history.json    how its training went on with other settings, see `history`
<run>/data.json       content signature of the data that it was trained on, see `data`
<run>/tokenizer.json  the tokenizer that its captions were encoded with
<run>/words.json      the words of the captions that the tokenizer was trained on
<run>/checkpoints/    weights; metrics.jsonl, samples/ and tensorboard/ are beside them
"""

from dalle_jax.runs.create import create_run
from dalle_jax.runs.fingerprint import fingerprint
from dalle_jax.runs.run import FORMAT, MIGRATION, Run, open_run
from dalle_jax.runs.workdir import clip_in, runs_in, warn_of_changed_data

__all__ = [
    "FORMAT",
    "MIGRATION",
    "Run",
    "clip_in",
    "create_run",
    "fingerprint",
    "open_run",
    "runs_in",
    "warn_of_changed_data",
]
