"""The parts of still pictures: escaped text, tables, bars and styles, as text and as HTML."""
