"""One run of training: plan of samples, loss, optimiser, loop, checkpoints, ranks."""
