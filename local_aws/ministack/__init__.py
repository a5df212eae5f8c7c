"""ministack, corrected and extended. Only this folder imports it, because it uses ministack's internals."""
