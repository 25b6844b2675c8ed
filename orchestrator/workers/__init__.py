"""Workers that plan batches: this process, or Ray actors; Ray is imported only here."""
