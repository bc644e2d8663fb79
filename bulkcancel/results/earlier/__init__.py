"""What a results file holds already: read, repaired, brought up to date."""
