"""Every setting with its default: a GLIDE-style decoder on one-object captioned shapes at 32 px.

Any setting can be set on the command line, as in `--config.decoder.train.steps=100`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """A decoder of 3 M parameters that two CPU cores train in minutes."""
    config = ConfigDict()
    config.seed = 0
    config.stages = ("decoder",)  # trained in this order
    config.licence = "Made by a machine; no copyright is claimed (CC0-1.0)."  # in each image

    config.data = ConfigDict()
    # Or emoji, folder:PATH, webdataset:SHARDS, parquet:FILES, tfds:NAME.
    config.data.source = "captioned_shapes/easy"
    config.data.dir = "data"  # where prepared data sets are
    config.data.image_size = 32  # pixels
    config.data.captions = (
        "short"  # kind, or shares: short:0.5,descriptive:0.5; held out: the first
    )
    config.data.languages = ("en",)  # of the captions of emoji
    config.data.max_bad_share = 0.01  # of items that can't be read or have no caption
    config.data.encoding = "utf-8"  # of captions and tables in user data
    config.data.image_column = ""  # of a user's table; "" finds it by its usual names
    config.data.caption_column = ""
    config.data.min_side = 0  # pixels; user images with a shorter side are skipped
    config.data.max_aspect_ratio = 0.0  # longer side / shorter side of user images; 0 is any
    config.data.flip = False  # mirror half of the images; wrong where captions say left or right
    config.data.max_shift = 0  # pixels by which images are moved at random
    config.data.num_threads = 2  # that prepare batches
    config.data.disk_cache = 20.0  # GB at most for images that do not fit in memory; 0 is none

    config.tokenizer = ConfigDict()
    config.tokenizer.file = ""  # a tokenizer.json; "" trains one on the training captions
    config.tokenizer.vocab_size = 512
    config.tokenizer.max_length = 12  # tokens, end of text included

    config.decoder = decoder()
    return config


def decoder() -> ConfigDict:
    """The stage that turns captions into images."""
    config = ConfigDict()
    config.model = ConfigDict()
    config.model.dtype = "float32"  # of the computation; parameters are float32
    config.model.scan_blocks = False  # a transformer's blocks as a loop over stacked weights
    config.model.image_size = 0  # pixels; larger data are shrunk to it, 0 is the data's size
    # The transformer that reads captions; depth 0 reads none.
    config.model.text = ConfigDict({"width": 96, "depth": 2, "num_heads": 3})
    # Context tokens made of a CLIP image embedding; 0 reads none.
    config.model.image_embedding = ConfigDict({"num_tokens": 0})
    # A coarse image predicted from the caption: its side in pixels, 0 for none; its transformer.
    config.model.layout = ConfigDict({"size": 0, "width": 128, "depth": 3, "num_heads": 4})
    config.model.unet = ConfigDict()
    config.model.unet.channels = 48
    config.model.unet.channel_mult = (1, 2, 2)
    config.model.unet.num_res_blocks = 1
    config.model.unet.attention_resolutions = (8, 4)  # sides of feature maps
    config.model.unet.head_channels = 32
    config.model.unet.patch_size = 2
    config.model.unet.norm_groups = 8
    config.model.unet.dropout = 0.0

    config.diffusion = ConfigDict()
    config.diffusion.schedule = "cosine"
    config.diffusion.num_timesteps = 0  # of a discrete schedule; 0 is continuous time
    config.diffusion.learned_variance = False  # needs num_timesteps
    config.diffusion.zero_terminal_snr = False  # rescaled to end in pure noise
    config.loss = ConfigDict()
    config.loss.target = "v"  # what the network predicts: v, x0, eps, flow or mean (of a step)
    config.loss.weighting = "simple"  # of noise levels, see losses.weight; or bound
    config.loss.log_normal_times = (0.5, 0.9)  # mean, deviation of ln(sigma/alpha); () is uniform t
    config.loss.caption_dropout = 0.1
    config.loss.embedding_dropout = 0.1  # of image embeddings

    config.train = train()
    config.sample = ConfigDict()  # defaults of previews, pipelines and evaluation
    config.sample.sampler = "unipc"
    config.sample.num_inference_steps = 10
    config.sample.spacing = "trailing"  # of the steps' times, see diffusion/grids.py
    config.sample.guidance_scale = 3.0
    return config


def train() -> ConfigDict:
    """How a stage is trained."""
    config = ConfigDict()
    config.steps = 5500
    config.batch_size = 16  # images per step, over all devices
    config.accumulate = 1  # microbatches of a batch
    config.remat = "none"  # or products, blocks: recomputed for gradients
    config.optimizer = ConfigDict()
    config.optimizer.name = "muon"  # or adamw
    config.optimizer.learning_rate = 4e-3  # its peak
    config.optimizer.warmup_steps = 100
    config.optimizer.decay = "cosine"  # constant, cosine, linear or inverse_sqrt
    config.optimizer.end_factor = 0.05  # learning rate at the end, relative to its peak
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.99
    config.optimizer.eps = 1e-8
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 1.0
    config.ema_decay = 0.998
    config.init_from = ""  # run, workdir or saved model whose weights it starts from; "" is random
    config.init_only = ""  # regular expression of the parameters taken from there; "" is all
    # Low-rank adapters of those weights are trained in their place; rank 0 is none.
    config.lora = ConfigDict({"rank": 0, "alpha": 8.0})
    config.freeze = ""  # regular expression of the parameters that are not trained; "" is none
    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})  # −1: the rest of the devices
    config.log_every = 50  # steps
    config.validate_every = 1000
    config.validation_images = 256
    config.preview_every = 1000
    config.evaluate_every = 0  # steps between small evaluations; 0 for none
    config.evaluation_images = 128
    config.evaluation_features = ""  # run of a classifier or CLIP, for FD and KD as well
    config.checkpoint_every = 1000
    config.keep_checkpoints = 2  # the newest ones, besides the best
    return config
