"""The names that options take, for `--help`, typing errors and completion.

They are written a second time here, and in `config.ranges` what configs hold too, since the tables
themselves are beside code that imports jax; tests compare them.
"""

from dalle_jax.config.ranges import CHOICES

SAMPLERS, SPACINGS = CHOICES["*.sampler"], CHOICES["*.spacing"]
THRESHOLDS = CHOICES["*.threshold"]
VARIANCES = ("fixed_small", "fixed_large", "learned")
EMBEDDINGS = ("text-embedding", "image-embedding")  # besides the stage that draws them
WEIGHTS = ("ema", "raw")
ADAPTERS = ("merged", "alone")  # of a model trained with train.lora, exported
DTYPES = ("float32", "bfloat16", "float16")  # of the tensors of an exported model

PREPROCESSINGS = ("torch-fidelity", "pytorch-fid", "clean-fid")
FITS = ("squeeze", "crop")

SOURCES = ("captioned_shapes/easy", "captioned_shapes/pairs", "captioned_shapes/full", "emoji")
SPLITS = ("train", "validation", "test", "test_novel", "paraphrase", "test_combination")
OWN_SPLITS = ("train", "validation", "test", "all")  # of folders, shards and Parquet files
RULES = ("one", "all")
CAPTIONS = ("short", "natural", "descriptive", "alt", "phrased")
SCALES = ("tiny", "small", "paper")
