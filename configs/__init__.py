"""Experiments: `base` states every knob once; each other file is a delta named for what it is."""
