"""Without its package an integration says which one it wants; the others work."""

from __future__ import annotations

from tests.core.programs import run

REMEDIES = {
    "celery": "pip install celery",
    "apscheduler": "pip install 'apscheduler>=3.10,<4'",
    "prometheus": "etcd-recipes[metrics]",
    "opentelemetry": "etcd-recipes[otel]",
}


def test_a_package_that_is_not_installed_is_named() -> None:
    said = run("""
        import importlib, sys
        for package in ("celery", "apscheduler", "prometheus_client", "opentelemetry"):
            sys.modules[package] = None  # as if it were not there
        import etcd_recipes.contrib.asgi, etcd_recipes.contrib.requests
        from etcd_recipes import MissingDependency
        for name in ("celery", "apscheduler", "prometheus", "opentelemetry"):
            try:
                importlib.import_module(f"etcd_recipes.contrib.{name}")
            except MissingDependency as error:
                print(error, isinstance(error, ImportError))
        """).splitlines()
    assert len(said) == len(REMEDIES)
    for line, (name, remedy) in zip(said, REMEDIES.items(), strict=True):
        assert f"contrib.{name} " in line
        assert remedy in line
        assert line.endswith(" True")
