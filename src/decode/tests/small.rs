use super::*;

fn refused(min_side: u32, max_ratio: f64, width: u32, height: u32) -> Option<String> {
    let decoder = FileDecoder::new(DecodeSettings {
        min_side,
        max_ratio,
        ..DecodeSettings::default()
    });
    let body = large(width, height);
    let header = decoder.header(&body).err();
    let error = decoder.decode(body.into()).err();
    assert_eq!(header.is_some(), error.is_some(), "{width}x{height}");
    error.map(|error| {
        assert!(matches!(error, DecodeError::TooSmall(_)), "{error:?}");
        error.to_string()
    })
}

#[test]
fn the_shorter_side_is_at_least_what_is_asked_for_and_16_by_default() {
    assert_eq!(DecodeSettings::default().min_side, 16);
    for (width, height) in [(1, 1), (15, 400), (400, 15)] {
        let told = refused(16, 0.0, width, height).expect("too small");
        assert!(told.contains("decode.min_side"), "{told}");
        assert!(told.contains(&format!("{width}x{height}")), "{told}");
    }
    assert_eq!(refused(16, 0.0, 16, 400), None);
    assert_eq!(refused(1, 0.0, 1, 1), None);
    assert_eq!(refused(0, 0.0, 1, 1), None);
}

#[test]
fn a_ratio_is_bounded_only_where_it_is_asked_for() {
    assert_eq!(refused(16, 0.0, 2000, 16), None);
    assert_eq!(refused(16, 10.0, 200, 20), None, "ten exactly");
    for (width, height) in [(201, 20), (20, 201)] {
        let told = refused(16, 10.0, width, height).expect("too long");
        assert!(told.contains("decode.max_ratio"), "{told}");
    }
    assert_eq!(refused(16, 1.5, 30, 20), None);
    assert!(refused(16, 1.5, 31, 20).is_some());
}
