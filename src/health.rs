//! `/metrics`, `/livez`, `/readyz`.
