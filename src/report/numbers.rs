//! Figures as a person reads them.

use crate::stats::Estimate;

/// A share: `4.2 %`, `0 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent == 100.0 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// A count with its thousands apart, rounded.
#[must_use]
pub fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span of time: `12.3 s`, `4.5 min`, `3.2 h`, `12 h`, `8.1 days`.
#[must_use]
pub fn span(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(259_200.0, "d"), (5400.0, "h"), (90.0, "min"), (0.0, "s")];
    for (from, unit) in UNITS {
        if seconds >= from {
            let one = match unit {
                "d" => 86_400.0,
                "h" => 3600.0,
                "min" => 60.0,
                _ => 1.0,
            };
            let amount = seconds / one;
            let digits = if amount < 1.0 {
                3
            } else if amount < 9.95 {
                2
            } else {
                1
            };
            return format!("{amount:.digits$} {unit}");
        }
    }
    format!("{seconds:.1} s")
}

/// Bytes in decimal units: `12 B`, `3.4 kB`, `120 MB`.
#[must_use]
pub fn bytes(number: f64) -> String {
    let mut amount = number.max(0.0);
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if amount < 999.5 {
            return match amount < 9.95 && unit != "B" {
                true => format!("{amount:.1} {unit}"),
                false => format!("{amount:.0} {unit}"),
            };
        }
        amount /= 1000.0;
    }
    format!("{amount:.1} PB")
}

/// Money, in whatever currency the price was given: cents below 100.
#[must_use]
pub fn money(amount: f64) -> String {
    if amount < 100.0 {
        format!("{amount:.2}")
    } else {
        count(amount)
    }
}

/// The ends of an interval: `1.0 % to 13.5 %`.
#[must_use]
pub fn ends(estimate: Estimate, text: impl Fn(f64) -> String) -> String {
    format!("{} to {}", text(estimate.low), text(estimate.high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_a_person_reads() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.0421), "4.2 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(count(1_234_567.4), "1,234,567");
        assert_eq!(count(999.0), "999");
        assert_eq!(span(0.1234), "0.123 s");
        assert_eq!(span(42.0), "42.0 s");
        assert_eq!(span(200.0), "3.33 min");
        assert_eq!(span(36_000.0), "10.0 h");
        assert_eq!(span(864_000.0), "10.0 d");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(1_540.0), "1.5 kB");
        assert_eq!(bytes(120_400_000.0), "120 MB");
        assert_eq!(money(4.913), "4.91");
        assert_eq!(money(1234.5), "1,234");
    }
}
