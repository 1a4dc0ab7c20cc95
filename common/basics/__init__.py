"""What every command needs: arguments, the end of a command in one line, files, pictures, and the
processes of torchrun. Nothing here trains, tests or compares."""
