"""States of environments: taken, restored, packed, and made of recorded rows."""
