//! Files to pixels, with limits from the header.
