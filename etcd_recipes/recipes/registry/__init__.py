"""Registry and discovery: instances register, heal and drain; others follow them and pick one."""

from etcd_recipes.recipes.registry.discovery import Discovery, InstanceEvent
from etcd_recipes.recipes.registry.instance import Instance
from etcd_recipes.recipes.registry.registration import Registration
from etcd_recipes.recipes.registry.registry import Registry

__all__ = ["Discovery", "Instance", "InstanceEvent", "Registration", "Registry"]
