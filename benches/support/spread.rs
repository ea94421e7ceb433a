//! How the values of several rounds are shown.

/// Median, least and most.
pub fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match (values.first(), values.last()) {
        (Some(least), Some(most)) => {
            let median = values[values.len() / 2];
            format!("{median:.3} ({least:.3} to {most:.3})")
        }
        _ => "–".to_owned(),
    }
}
