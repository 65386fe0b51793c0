"""Tools around a run: judge, import, audit, init, chat, export, and check the machine."""
