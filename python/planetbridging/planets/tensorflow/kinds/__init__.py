"""The constructors of Keras: one file for each kind, `build(operators, path, config)`, which returns its forward."""
