"""The suite is worth something: it catches every broken variant, and says for what."""

from __future__ import annotations

from etcd_recipes.testing import EtcdProcess
from tests.properties.company import Company
from tests.properties.scenes import SCENES
from tests.properties.stage import BOUND, Place, Stage, end
from tests.properties.variants import VARIANTS
from tests.tools import Job

SOON = 2.0
"""Seconds to wait for what a variant that hangs will not do."""


def caught(company: Company, place: Place, name: str) -> str:
    """Play a variant's scene; gives what is wrong with the suite, or nothing."""
    variant = VARIANTS[name]
    actor = company.actor(name)
    pair = actor, actor  # to etcd, each client is a process of its own
    bound = SOON if "liveness" in variant.breaks else BOUND
    with Stage(company, place, variant.subjects, pair, variant=name, bound=bound) as stage:
        SCENES[variant.scene](stage)
        found = stage.verdict()
        end(pair)
        if set(found) & set(variant.breaks):
            return ""
        return f"{name} was not caught for {variant.breaks}: {found}\n{stage.story()}"


def test_every_variant_is_caught(company: Company, etcd: EtcdProcess) -> None:
    place = Place(etcd.endpoint, "v3")
    jobs = [Job(lambda name=name: caught(company, place, name)) for name in VARIANTS]  # type: ignore[misc]
    missed = [story for job in jobs if (story := job.result(60))]
    assert not missed, "\n\n".join(missed)
