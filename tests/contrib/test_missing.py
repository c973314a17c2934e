"""Without its package an integration says which one it wants; the others work."""

from __future__ import annotations

import pytest

from tests.core.programs import run


@pytest.mark.parametrize(
    ("integration", "package", "remedy"),
    [
        ("celery", "celery", "pip install celery"),
        ("apscheduler", "apscheduler", "pip install 'apscheduler>=3.10,<4'"),
        ("prometheus", "prometheus_client", "etcd-recipes[metrics]"),
        ("opentelemetry", "opentelemetry", "etcd-recipes[otel]"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    integration: str, package: str, remedy: str
) -> None:
    said = run(f"""
        import sys
        sys.modules[{package!r}] = None  # as if it were not there
        import etcd_recipes.contrib.asgi, etcd_recipes.contrib.requests
        from etcd_recipes import MissingDependency
        try:
            import etcd_recipes.contrib.{integration}
        except MissingDependency as error:
            print(error, isinstance(error, ImportError))
        """)
    assert remedy in said
    assert said.endswith("True\n")
