"""The known name that was most likely meant by a mistyped one."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` if a known name is close to `name`, else nothing.

    Close is what differs by a few letters, by case, or by `-` for `_`; then what holds `name` as
    one of its words, as num_inference_steps holds steps; then what ends like it after a dot.
    """
    known, asked = list(known), _plain(name)
    forms = [_plain(one) for one in known]
    close = [
        known[forms.index(form)]
        for form in difflib.get_close_matches(asked, dict.fromkeys(forms), n=1, cutoff=0.6)
    ]
    close = close or [one for one, form in zip(known, forms) if asked in form.split("_")]
    last = name.rsplit(".", 1)[-1]
    close = close or [one for one in known if one.rsplit(".", 1)[-1] == last]
    return f"; did you mean {close[0]}?" if close else ""


def _plain(name: str) -> str:
    return name.strip("-–—").replace("-", "_").casefold()
