"""Whether a result is worse than before: gates, times, statistics, change points, expectations, nights."""
