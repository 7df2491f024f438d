"""Protocol plug-ins, one package each, and the bases that they may share. All of it is pure."""
