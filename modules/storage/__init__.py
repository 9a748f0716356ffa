"""What lies on disk and survives a kill: durable files, checkpoints, the lock of a run's folder."""
