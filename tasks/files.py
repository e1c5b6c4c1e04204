"""What a run leaves in its folder, by name; apart from `tasks.fit`, whose imports take seconds."""

MARK, LAST, BEST, LOG = "run.json", "last.ckpt", "best.ckpt", "log.csv"
