"""Measure results: metrics, precision against PyTorch, input regimes, calibration, the cost of a norm."""
