"""Vision towers: processed pictures in, features in the size of the text model out."""
