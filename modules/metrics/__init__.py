"""Figures of samples: evaluate.Metric subclasses, made directly."""
