"""A run's models on several machines: jobs go to a dask.distributed cluster, and come back as from a pool.

Nothing of dask is imported before a scheduler is asked for.
"""
