"""The constructors of PyTorch: one file for each kind, `build(operators, path, config)`, which returns its forward."""
