"""Problems whose starts and goals are rows of recorded episodes."""
