"""scikit-learn's one kind: a model is a single estimator, which its dense layers make together."""
