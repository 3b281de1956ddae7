"""One process from its start to its end: the configuration in force, its tasks, its reloads, its successor."""
