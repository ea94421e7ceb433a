use super::*;

fn close(got: f64, right: f64, by: f64) {
    assert!((got - right).abs() <= by, "{got}, not {right}");
}

/// R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in
/// Medicine 17 (1998), table I, method 3.
#[test]
fn shares_have_the_score_intervals_of_newcombe() {
    for (hits, of, low, high) in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ] {
        let got = wilson(hits, of);
        close(got.value, hits as f64 / of as f64, 1e-12);
        close(got.low, low, 5e-5);
        close(got.high, high, 5e-5);
    }
    assert_eq!(wilson(20, 20).high, 1.0);
    let nothing = wilson(0, 0);
    assert_eq!((nothing.low, nothing.high), (0.0, 1.0));
}

#[test]
fn a_share_ahead_is_less_certain_than_the_share_itself() {
    let (known, ahead) = (wilson(10, 100), wilson_ahead(10, 100, 50));
    assert!(ahead.low < known.low && ahead.high > known.high);
    // A hundred ahead say as much as fifty would: 1/100 + 1/100 = 1/50.
    assert_eq!(wilson_ahead(10, 100, 100), wilson(5, 50));
}

/// NumPy 2: `numpy.percentile([15, 20, 35, 40, 50], [5, 30, 40, 95])`.
#[test]
fn percentiles_are_those_of_numpy() {
    let values = [35.0, 15.0, 50.0, 40.0, 20.0];
    for (at, right) in [(0.05, 16.0), (0.3, 23.0), (0.4, 29.0), (0.95, 48.0)] {
        close(percentile(&values, at), right, 1e-9);
    }
    assert_eq!(percentile(&[], 0.5), 0.0);
}

/// Two-sided exact binomial tests against one half, as rational numbers.
#[test]
fn the_sign_test_is_exact() {
    close(sign_test(8, 2), 112.0 / 1024.0, 1e-12);
    close(sign_test(2, 8), 112.0 / 1024.0, 1e-12);
    close(sign_test(15, 5), 43_400.0 / 1_048_576.0, 1e-12);
    close(sign_test(5, 5), 1.0, 1e-12);
    close(sign_test(0, 0), 1.0, 1e-12);
    assert!(sign_test(3000, 2000) < 1e-40);
}

/// Tables of Student's distribution.
#[test]
fn students_quantiles_are_those_of_the_tables() {
    for (freedom, right) in [
        (1, 12.7062),
        (9, 2.262157),
        (11, 2.200985),
        (19, 2.093024),
        (30, 2.042272),
        (120, 1.979930),
    ] {
        close(student(freedom), right, 2e-4);
    }
}

/// The bootstrap of a mean is near mean ± 1.96 s/√n where n is large (its own limit).
#[test]
fn the_bootstrap_of_a_mean_has_the_normal_width() {
    let values: Vec<f64> = (0..400).map(|n| f64::from(n % 20)).collect();
    let got = mean_of(&values, 7);
    let half = Z * deviation(&values) / 20.0;
    close(got.value, 9.5, 1e-12);
    close(got.low, 9.5 - half, half * 0.1);
    close(got.high, 9.5 + half, half * 0.1);
    assert_eq!(got, mean_of(&values, 7), "the same seed, the same interval");
    assert_ne!(got, mean_of(&values, 8));
}

#[test]
fn a_ratio_is_of_sums_not_of_ratios() {
    let got = ratio_of(&[1.0, 9.0], Some(&[10.0, 10.0]), 1);
    close(got.value, 0.5, 1e-12);
    close(got.low, 0.1, 1e-12);
    close(got.high, 0.9, 1e-12);
    assert_eq!(ratio_of(&[], None, 1), Estimate::exact(0.0));
    assert_eq!(mean_of(&[3.0], 1), Estimate::exact(3.0));
}

/// Of many samples, the interval holds the true share in 95 of 100.
#[test]
fn intervals_hold_as_often_as_they_say() {
    let mut random = Pcg64::new(11, 1);
    let mut draw = move || random.next_u64() as f64 / u64::MAX as f64;
    let held = (0..1000)
        .filter(|_| {
            let hits = (0..80).filter(|_| draw() < 0.12).count() as u64;
            wilson(hits, 80).holds(0.12)
        })
        .count();
    assert!((925..=975).contains(&held), "{held} of 1000");
}
