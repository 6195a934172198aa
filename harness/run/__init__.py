"""The main job: the cases of a model made or taken from the cache, executed, compared and recorded."""
