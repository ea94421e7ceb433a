//! Which columns of a table make a request.

/// Which columns of a table (CSV, TSV, Parquet) make a request. Names are those of the table,
/// `a.b` inside of a group; columns of a list without a header are named by number, from 1 on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The URL. `None`: `url`, else `URL`, `Url`, … .
    pub url: Option<String>,
    /// The id; numbers are written as text. Null or empty: none.
    pub id: Option<String>,
    /// The original caption. Null: none.
    pub caption: Option<String>,
    /// Columns that go into `meta`, under their names.
    pub meta: Vec<String>,
}

impl Columns {
    /// Whether any was named.
    #[must_use]
    pub fn is_named(&self) -> bool {
        *self != Self::default()
    }
}

/// Finds a column by its name. The exact name wins; `any_case` takes another spelling where there
/// is no exact one.
///
/// # Errors
/// There is none, or more than one; `what` is said as the purpose.
pub(super) fn find<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    wanted: &str,
    any_case: bool,
    what: &str,
) -> Result<usize, String> {
    let matching = |fits: &dyn Fn(&str) -> bool| -> Vec<(usize, &str)> {
        (names.clone().enumerate())
            .filter(|(_, name)| fits(name))
            .collect()
    };
    let mut found = matching(&|name| name == wanted);
    if found.is_empty() && any_case {
        found = matching(&|name| name.eq_ignore_ascii_case(wanted));
    }
    match found.as_slice() {
        [] => Err(format!("no column `{wanted}` for the {what}")),
        [(at, _)] => Ok(*at),
        [(_, one), (_, other), ..] if one == other => Err(format!(
            "{} columns are called `{one}`: which is the {what} cannot be said; rename one",
            found.len()
        )),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|(_, name)| format!("`{name}`"))
                .collect();
            Err(format!(
                "the {what} may be {}: name one",
                names.join(" or ")
            ))
        }
    }
}
