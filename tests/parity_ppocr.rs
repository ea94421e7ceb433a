//! The text reader against rapidocr-onnxruntime 1.4.4, whose graphs it runs: the same lines in the
//! same order, text equal, quads within two pixels. `tests/goldens/ppocr/make.py` drew the
//! pictures and wrote what the reference reads.

use std::{fs, path::PathBuf};

use serde::Deserialize;
use vila2::models::{
    SessionSettings,
    ppocr::{PpOcr, ReaderSettings},
};
use vila2_actors::image::Image;

/// Corners may be this far apart, pixels.
const QUAD_TOLERANCE: f32 = 2.0;

/// Scores may differ by this where a corner is a pixel away, so that the recogniser sees another
/// cut, and by a fifth of it where none is: cuts of turned lines differ by a grey level here and
/// there.
const SCORE_TOLERANCE: f32 = 0.05;

#[derive(Deserialize)]
struct Golden {
    file: String,
    lines: Vec<GoldenLine>,
}

#[derive(Deserialize)]
struct GoldenLine {
    text: String,
    score: f32,
    /// Clockwise from the top left of the picture.
    quad: [[f32; 2]; 4],
    /// The line runs down the picture and was turned to the left to be read.
    tall: bool,
    /// The line stood on its head (after that turn).
    over: bool,
}

impl GoldenLine {
    /// The quad from the top left of the text.
    fn quad(&self) -> [[f32; 2]; 4] {
        let mut quad = self.quad;
        quad.rotate_left(usize::from(self.tall) + 2 * usize::from(self.over));
        quad
    }
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn reader() -> PpOcr {
    let settings = ReaderSettings {
        name: "ppocr".into(),
        folder: repository("target/runtime/rapidocr_onnxruntime/models"),
        session: SessionSettings::default(),
    };
    PpOcr::open(&settings).expect("`make runtime` brings the graphs")
}

fn picture(file: &str) -> std::sync::Arc<Image> {
    let path = repository("tests/goldens/ppocr/images").join(file);
    let pixels = image::open(&path).expect("a golden picture").to_rgb8();
    let (width, height) = pixels.dimensions();
    Image::new(width, height, pixels.into_raw().into(), (width, height))
}

#[test]
fn every_line_of_every_golden_picture_reads_as_the_reference_reads_it() {
    let goldens = fs::read_to_string(repository("tests/goldens/ppocr/goldens.jsonl"))
        .expect("goldens are committed");
    let mut reader = reader();
    let (mut pictures, mut lines, mut moved, mut faults) = (0, 0, 0, Vec::new());
    let (mut farthest, mut unlike) = (0.0f32, 0.0f32);
    for golden in goldens.lines() {
        let golden: Golden = serde_json::from_str(golden).expect("a golden");
        let found = reader.read(&picture(&golden.file)).expect("reads");
        pictures += 1;
        let (said, expected): (Vec<_>, Vec<_>) = (
            found.iter().map(|line| line.text.as_str()).collect(),
            golden.lines.iter().map(|line| line.text.as_str()).collect(),
        );
        if said != expected {
            faults.push(format!("{}: {said:?}, expected {expected:?}", golden.file));
            continue;
        }
        for (line, expected) in found.iter().zip(&golden.lines) {
            lines += 1;
            let corners = line.quad.0.iter().zip(expected.quad());
            let apart = corners
                .map(|(a, b)| (a[0] - b[0]).abs().max((a[1] - b[1]).abs()))
                .fold(0.0, f32::max);
            let score = (line.score - expected.score).abs();
            farthest = farthest.max(apart);
            unlike = unlike.max(score);
            let same_cut = apart < 0.5;
            moved += usize::from(!same_cut);
            let tolerance = SCORE_TOLERANCE / if same_cut { 5.0 } else { 1.0 };
            if apart > QUAD_TOLERANCE || score > tolerance {
                faults.push(format!(
                    "{}: `{}` is {apart} px and {score} in score away: {:?}, expected {:?}",
                    golden.file,
                    line.text,
                    line.quad.0,
                    expected.quad()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        moved * 50 <= lines,
        "{moved} of {lines} lines moved, by {farthest} px at most; scores differ by {unlike}"
    );
    assert!(
        pictures >= 40 && lines >= 80,
        "{pictures} pictures, {lines} lines"
    );
}

#[test]
fn a_picture_that_was_scaled_down_gives_quads_of_the_original() {
    let file = picture("plain.png");
    let original = (file.width * 3, file.height * 2);
    let small = Image::new(file.width, file.height, file.pixels.clone(), original);
    let mut reader = reader();
    let (plain, scaled) = (
        reader.read(&file).expect("reads"),
        reader.read(&small).expect("reads"),
    );
    assert_eq!(plain.len(), 1);
    for (a, b) in plain[0].quad.0.iter().zip(scaled[0].quad.0) {
        assert_eq!([a[0] * 3.0, a[1] * 2.0], b);
    }
}
