"""An exhaustive model of the refresh exchange: all interleavings of two workers and a reader, with faults."""
