"""Tables, plots and text made from the report types; nothing here decides anything."""
