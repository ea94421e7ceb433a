//! What there is for photographs, for a person who looks for a model.

use super::output;
use crate::models::photographs::{FIRST, PUBLISHED};

/// The published folders as a table, and the command that fetches one.
pub(super) fn listed() -> String {
    let mut table = output::table(["for photographs", "parameters", "size", "memory", "licence"]);
    for folder in PUBLISHED {
        table.add_row([
            folder.repository.to_owned(),
            format!("{} M", output::count(folder.millions)),
            format!("{:.1} GB", folder.bytes as f64 / 1e9),
            format!("about {} GB", folder.memory / 1_000_000_000),
            folder.licence.to_owned(),
        ]);
    }
    output::right_aligned(&mut table, 1);
    format!(
        "{table}\nSize and memory (with one picture at a time) are those of full precision; `--variant q4` \
         takes less. `vila2 models pull {FIRST}` fetches one."
    )
}
