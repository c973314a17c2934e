"""Registry and discovery: instances register, heal and drain; others follow them and pick one."""

from etcd_recipes.recipes.registry.codec import Codec
from etcd_recipes.recipes.registry.discovery import Discovery
from etcd_recipes.recipes.registry.events import InstanceEvents
from etcd_recipes.recipes.registry.instance import Instance
from etcd_recipes.recipes.registry.registration import Registration
from etcd_recipes.recipes.registry.registry import Registry
from etcd_recipes.recipes.registry.roster import InstanceEvent

__all__ = [
    "Codec",
    "Discovery",
    "Instance",
    "InstanceEvent",
    "InstanceEvents",
    "Registration",
    "Registry",
]
