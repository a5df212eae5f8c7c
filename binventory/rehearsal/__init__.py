"""The rehearsal: the whole system deployed, trained, served and destroyed in a local AWS."""
