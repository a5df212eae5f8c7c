"""The only modules that import ministack, whose internals they correct and extend."""
