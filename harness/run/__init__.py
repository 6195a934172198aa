"""The main job: make the cases of a model or take them from the cache, execute, compare and record them."""
