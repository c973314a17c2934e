"""``etcd-recipes demo``: workers elect a leader, share out jobs under locks, and survive two crashes.

Where is what::

    command     the click command: options in, exit status out
    stage       one run: puts everything up, strikes, takes everything down
    place       the etcd that it runs on: three members of its own, or one that was given
    troupe      the worker processes, seen from outside
    observer    what etcd says: who stands for election, who is registered
    follower    a prefix of etcd, kept up to date
    inbox       events from many threads to one

    worker      one worker process
    leader      what it does while it leads: hand out jobs
    hand        what it does all the time: take jobs, each under its lock
    held        what both have in common: work under a hold ends with the hold

    ledger      the outside resource: SQLite, fenced by token

    plan        the size of a run, and the names of its keys                     (decides)
    board       what a worker has seen of the jobs, and what to try next         (decides)
    event       what workers, observer and stage tell: one line of JSON each     (values)
    story       events in, the current picture out                               (decides)
    plot        when to kill whom, and the sentence that says what is going on   (decides)
    evidence    what a run leaves for the verdict                                (values)
    verdict     the checks over the ledger's rows                                (decides)
    summary     the end of the story, as text and as JSON                        (decides)
    lines       events as plain lines
    screen      the live view on a terminal
"""
