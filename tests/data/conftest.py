import pytest

from dalle_jax.data import remote_server


@pytest.fixture
def url_cache(monkeypatch, tmp_path):
    """The folder of what is known of data by URL, for this test only; tries without pauses."""
    monkeypatch.setattr(remote_server, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dalle_jax" / "data"
