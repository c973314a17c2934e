"""Both stores, as for the recipes; and the packages that the integrations are for."""

from __future__ import annotations

import pytest

from tests.recipes.conftest import *  # noqa: F403


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("integration")
