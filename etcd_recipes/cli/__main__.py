"""``python -m etcd_recipes.cli``: the same as ``etcd-recipes``."""

from etcd_recipes.cli.entry import main

main()
