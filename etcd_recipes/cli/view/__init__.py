"""Commands that look: who holds what, how etcd is, what happens below a prefix; and three that do a little.

Where is what::

    census      what is below a prefix, recognised from keys and values      (decides)
    reach       the one place that reaches behind the public client
    output      tables, plain lines, JSON; text that is safe on a terminal
    report      a census as rows and as JSON                                  (decides)
    locks       ``locks``: the census, once
    history     what changed between two looks: rates and waits               (decides)
    page        the live page as something to print                           (decides)
    keyboard    a terminal that is given back as it was
    top         ``top``: the census, live
    evict       ``break``: remove a holder
    health      what is wrong with a cluster                                  (decides)
    status      ``status``: the members, one by one
    bugs        known bugs of etcd's versions                                 (data)
    findings    one line of the doctor's                                      (values)
    endpoint    the doctor's questions to one endpoint
    cluster     the doctor's questions to the cluster
    doctor      ``doctor``: all questions, and the verdict
    listing     instances in the formats of others                            (decides)
    discover    ``discover``: the instances of a service
    barrier     ``barrier``: close, open, wait
    events      changes as lines and as JSON                                  (decides)
    watch       ``watch``: changes below a prefix
    server      ``server``: an etcd for development

Data goes to stdout, talk to stderr. This file imports nothing, to be fast.
"""
