"""Experiments: `base` states every setting once; each other file is a delta to it."""
