import pytest


@pytest.fixture(autouse=True)
def undrawn():
    """The pictures are what is tested here: nothing stands in for them."""
