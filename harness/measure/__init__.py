"""How good a result is: metrics, precision against PyTorch, input regimes, calibration, the cost of a norm."""
