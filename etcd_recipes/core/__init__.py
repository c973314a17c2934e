"""The keys client: everything that talks to etcd. Its floors import downwards only."""
