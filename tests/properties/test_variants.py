"""The suite is worth something: it catches every broken variant, and says for what."""

from __future__ import annotations

from etcd_recipes.testing import EtcdProcess
from tests.properties.company import Company
from tests.properties.scenes import SCENES
from tests.properties.stage import Place, Stage
from tests.properties.variants import VARIANTS
from tests.tools import Job


def caught(company: Company, place: Place, name: str) -> str:
    """Play a variant's scene; gives what is wrong with the suite, or nothing."""
    variant = VARIANTS[name]
    with Stage(company, place, variant.subjects, name, bound=1.5) as stage:
        victim, other = stage.actor(), stage.actor()
        SCENES[variant.scene](stage, victim, other)
        found = stage.verdict(other)
        if set(found) & set(variant.breaks):
            return ""
        return f"{name} was not caught for {variant.breaks}: {found}\n{stage.story()}"


def test_every_variant_is_caught(company: Company, etcd: EtcdProcess) -> None:
    place = Place(etcd.endpoint, "v3")
    jobs = [Job(lambda name=name: caught(company, place, name)) for name in VARIANTS]  # type: ignore[misc]
    missed = [story for job in jobs if (story := job.result(60))]
    assert not missed, "\n\n".join(missed)
