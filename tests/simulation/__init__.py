"""Whole jobs on virtual time: real engine, real results file, a simulated Domo."""
