"""How values are displayed in pages, commands and exports."""
