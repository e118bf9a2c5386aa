"""Numbers as they are typed on the command line."""

import argparse


def count(text: str) -> int:
    """A whole number that is 1 at least: a `type` of argparse's options."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number
