"""Which parameter of a live module plays which role: one package per planet, shared by the
handlers that dump goldens and by `absorb`. Importing these files changes nothing in the process."""
