"""From a bucket of bin photos to shards: source, labels, candidates, split, plan, work, books, report."""
