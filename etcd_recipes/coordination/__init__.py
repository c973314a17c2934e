"""What recipes are made of: session, hold, contenders, line, follow. Knows the Store, no dialect, no HTTP."""
