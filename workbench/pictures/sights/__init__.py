"""How each family sees: one file for the families that process pictures alike."""
