"""The digits model: checkpoint, configuration, and the digits that it is tested on."""
