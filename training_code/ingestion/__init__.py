"""From a bucket of bin photos to shards, step by step: source, labels, candidates, split, plan, work, books, exploration."""
