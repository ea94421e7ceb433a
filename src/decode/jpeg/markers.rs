//! The markers of a JPEG file.

use vila2_actors::error::DecodeError;

use super::MAX_SCANS;

pub(super) const SOI: u8 = 0xd8;
pub(super) const EOI: u8 = 0xd9;
pub(super) const SOS: u8 = 0xda;

/// Walks the markers of a JPEG file.
#[derive(Debug, Clone)]
pub(super) struct Markers<'a> {
    body: &'a [u8],
    at: usize,
}

/// A marker and its data, as far as they are there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) marker: u8,
    pub(super) data: &'a [u8],
}

impl<'a> Iterator for Markers<'a> {
    type Item = Segment<'a>;

    /// The next marker. Segments are skipped by their length, so a thumbnail's markers inside of
    /// one do not count; entropy-coded data is skipped by its stuffing.
    fn next(&mut self) -> Option<Segment<'a>> {
        loop {
            let rest = self.body.get(self.at..)?;
            self.at += rest.iter().position(|byte| *byte == 0xff)? + 1;
            let marker = *self.body.get(self.at)?;
            match marker {
                0xff => {}                                 // fill: look at this byte again
                0x00 | 0x01 | 0xd0..=0xd7 => self.at += 1, // stuffing, TEM, restart
                SOI | EOI => {
                    self.at += 1;
                    return Some(Segment { marker, data: &[] });
                }
                _ => {
                    let length = self.body.get(self.at + 1..self.at + 3)?;
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
                    let start = self.at + 3;
                    self.at += 1 + length;
                    let end = self.at.min(self.body.len());
                    let data = &self.body[start..end];
                    return Some(Segment { marker, data });
                }
            }
        }
    }
}

pub(super) fn markers(body: &[u8]) -> Markers<'_> {
    Markers { body, at: 2 }
}

/// The segments in front of the first scan.
pub(super) fn headers(body: &[u8]) -> impl Iterator<Item = Segment<'_>> + Clone {
    markers(body).take_while(|segment| segment.marker != SOS)
}

/// How the file ends, by its markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The end marker follows the scans. What comes after it is nobody's business.
    Whole,
    /// The file ends, or another picture begins, before the end marker.
    Cut,
    /// An end marker is the last of the file, but the lengths of its segments do not lead there.
    Lost,
}

/// How the file ends.
pub(super) fn ending(body: &[u8]) -> Ending {
    let scans = markers(body).skip_while(|segment| segment.marker != SOS);
    let mut ends = scans.filter(|segment| matches!(segment.marker, SOI | EOI));
    match ends.next().map(|segment| segment.marker) {
        Some(EOI) => Ending::Whole,
        Some(_) => Ending::Cut,
        None => {
            let padding = body.iter().rev().take_while(|byte| **byte == 0).count();
            let closed = body[..body.len() - padding].ends_with(&[0xff, EOI]);
            if closed { Ending::Lost } else { Ending::Cut }
        }
    }
}

/// Whether the decoder keeps all coefficients: a progressive picture, or a first scan that holds
/// some of the components only.
pub(super) fn holds_coefficients(body: &[u8], components: u8) -> bool {
    markers(body)
        .find(|segment| matches!(segment.marker, 0xc2 | SOS))
        .is_some_and(|first| {
            first.marker != SOS || first.data.first().is_none_or(|count| *count < components)
        })
}

/// Refuses a picture whose scans would be gone through for hours.
pub(super) fn few_scans(body: &[u8]) -> Result<(), DecodeError> {
    let scans = markers(body)
        .take_while(|segment| segment.marker != EOI)
        .filter(|segment| segment.marker == SOS)
        .count();
    if scans <= MAX_SCANS {
        return Ok(());
    }
    Err(DecodeError::UnsupportedFormat(format!(
        "a JPEG of {scans} scans: more than {MAX_SCANS} are not decoded here"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_marker_inside_of_a_segment_does_not_count() {
        let mut file = vec![0xff, SOI, 0xff, 0xe1, 0, 6, 0xff, EOI, 0, 0];
        file.extend([0xff, SOS, 0, 2, 1, 2, 0xff, 0, 3, 0xff, 0xd0, 4]);
        assert_eq!(ending(&file), Ending::Cut);
        let cut = file.clone();
        file.extend([0xff, 0xff, EOI]);
        assert_eq!(ending(&file), Ending::Whole);
        file.extend(b"trailing junk");
        assert_eq!(ending(&file), Ending::Whole);
        // what a cut file is followed by closes another picture
        assert_eq!(
            ending(&[&cut[..], &[0xff, SOI], &file].concat()),
            Ending::Cut
        );
        assert_eq!(
            ending(&[&cut[..], &[0xff, SOI, 0xff, EOI]].concat()),
            Ending::Cut
        );
    }

    #[test]
    fn a_length_that_leads_past_the_end_marker_is_not_a_cut() {
        let file = [0xff, SOI, 0xff, 0xe1, 9, 0, 1, 2, 3, 0xff, EOI, 0, 0];
        assert_eq!(ending(&file), Ending::Lost);
        assert_eq!(ending(&file[..10]), Ending::Cut);
    }
}
