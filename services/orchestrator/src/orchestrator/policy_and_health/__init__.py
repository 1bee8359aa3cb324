"""What routing goes by, kept in step with the buckets: policy, stats, models held; and the stores themselves."""
