"""A cache of converted packages, addressed by the inputs of their conversion, so that each is converted once.

A run of the zoo spends its time exporting and converting; neither is needed again if model, options, versions and our
own code are the same. Programs are executed every time, since the rows are about the execution.

cache = Cache(default_folder())
with cache.get(key) or cache.put(key, lambda path: model.save(str(path)), facts={...}, arrays={...}) as entry:
    entry.package, entry.facts, entry.arrays()
"""

from harness.run.cache.folder import Cache, Entry
from harness.run.cache.index import Listed
from harness.run.cache.keys import digest, files_digest, sources_digest
from harness.system.cache_folder import cache_folder as default_folder

__all__ = ["Cache", "Entry", "Listed", "default_folder", "digest", "files_digest", "sources_digest"]
