"""What stands in ``suites`` belongs to the projects of others, in which ``run.py`` runs it."""

collect_ignore = ["suites"]
