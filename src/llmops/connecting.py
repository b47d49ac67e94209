"""From a project to its backends and its tracker: names, keys, prices, budgets and the call log, wired once."""
