"""A run of the tiny training that nothing interrupted."""

import pytest

from tests.training.tiny import fit_tiny


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    return run_dir, fit_tiny(run_dir)
