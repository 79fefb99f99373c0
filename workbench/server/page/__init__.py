"""The page at `/`: a chat, and the live views of the engine, with the scripts of the notebook's widgets."""
