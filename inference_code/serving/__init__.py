"""The parts of the endpoint: what comes in, what answers, what goes out."""
