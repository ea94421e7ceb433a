//! Caption and specialists to one text with verdicts.
