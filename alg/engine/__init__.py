"""Pure: punts and a clock value in, effects out."""
