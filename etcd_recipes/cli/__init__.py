"""The command line; `etcd_recipes.cli.main` is its entrance. This file imports nothing, to be fast."""
