"""What works beside a run: judge, import, audit, begin, chat, export, and look at the machine."""
