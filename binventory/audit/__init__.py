"""The audit: photos and recorded quantities in, the bins whose record is most likely wrong out, worst first."""
