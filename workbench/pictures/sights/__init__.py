"""The sights of all families: one file for those that process pictures alike."""
