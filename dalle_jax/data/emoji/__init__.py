"""Emoji of an installed font with their names: real pictures and captions without a download."""
