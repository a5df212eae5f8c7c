"""The kit of every HTML page: one frame, one stylesheet, one set of charts. It is packed with the training code."""
