"""``etcd-recipes demo``: workers elect a leader, share out jobs under locks, and survive two crashes.

Where is what::

    command     the click command: options in, exit status out
    stage       one run: puts everything up, watches, kills, takes everything down
    place       the etcd that it runs on: its own three members, or one that was given
    troupe      the worker processes, seen from outside
    observer    what etcd says: who stands for election, who is registered
    worker      one worker process
    work        what a worker does, as the leader and as a hand
    board       what a worker has seen of the jobs, and what it does next        (decides)
    plan        the size of a run, and the names of its keys                     (decides)
    event       what workers, observer and stage tell: one line of JSON each     (decides)
    ledger      the outside resource: SQLite, fenced by token
    plot        when to kill whom                                                (decides)
    story       events in, the current picture out                               (decides)
    verdict     the checks over the ledger's rows                                (decides)
    lines       events as plain lines                                            (decides)
    summary     the end of the story, as text and as JSON                        (decides)
    screen      the live view on a terminal
"""
