"""`python -m dalle_jax VERB`."""

from dalle_jax.cli.main import main

if __name__ == "__main__":
    main()
