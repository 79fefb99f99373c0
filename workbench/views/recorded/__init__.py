"""Views in pages without Python: what a run's views drew at chosen moments, and the scripts that play it."""
