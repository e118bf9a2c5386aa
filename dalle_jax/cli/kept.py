"""A process that measures one point of a sweep after the other: `python -m dalle_jax.cli.kept`.

The launcher of a sweep starts it (`sweeps/kept.py`) for the points that have all their trainings in
common. Weights are loaded once, the encoded captions and the prior's embeddings made once.
"""

import sys

from dalle_jax import console, cpu
from dalle_jax.cli.main import exit_code, quieten

if __name__ == "__main__":
    cpu.restart_with_heap()
    console.show_anything()
    quieten()
    from dalle_jax.cli import evaluate
    from dalle_jax.cli.opened import Opened
    from dalle_jax.sweeps.kept import serve
    from dalle_jax.training.memory import give_back

    opened = Opened()

    def work(request: list[str]) -> int:
        """Measure one point."""
        code = exit_code("evaluate", lambda: evaluate.run(request[1:], opened))
        give_back()
        return code

    serve(int(sys.argv[-1]), work)
