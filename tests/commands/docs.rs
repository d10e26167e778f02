//! docs/commands.md tells what the commands say.
