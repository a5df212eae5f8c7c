"""One file a rule. Each module has a `RULE`."""
