//! HTTP(S) fetching behind an address guard.
