"""Commands that run a program while something is held: ``lock``, ``elect``, ``register``.

Three processes::

    etcd-recipes lock NAME CMD      holds, renews, hears signals        (`runner`)
    └── the guard                   starts, watches and ends the command (`guard`)
        └── CMD                     in a process group of its own        (`start`)

The guard is forked before anything else happens, while the process has one thread and has opened nothing.
It is told until when the hold is certain. When that time comes near and nobody has told it of a later one,
it ends the command by itself: etcd is away, or the runner is stopped, hangs, or was killed.

When to ask and when to kill is decided in `lifetime`, what a number means in `status`; both are pure.
This file imports nothing, to be fast.
"""
