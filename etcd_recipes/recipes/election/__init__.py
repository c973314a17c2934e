"""Election: candidates line up, the oldest leads; a leader may say who is to follow."""

from etcd_recipes.recipes.election.background import Background
from etcd_recipes.recipes.election.election import Election
from etcd_recipes.recipes.election.leadership import Leadership

__all__ = ["Background", "Election", "Leadership"]
