"""What every command needs: arguments, the end of a command in one line, files, drawing, and the
processes that torchrun starts. Nothing here knows what is trained, tested or compared."""
