"""The constructors of Flax: one file for each kind, `build(operators, path, config)`, which returns its forward."""
