//! The truth of one picture: a line of `truth.jsonl`.

use serde::{Deserialize, Deserializer, Serialize};
use vila2_actors::annotation::Relation;

use super::geometry::{Box2, Quad, center};

/// Everything that is true of one picture. Boxes and quads in pixels of the picture.
///
/// Shapes, colours and sizes are plain words, so that the scorer also reads truth that was not
/// drawn by this generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// The picture's file name: the last segment of its URL.
    pub file: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What is behind the objects, for example `plain gray` or `noisy dark gray`.
    #[serde(default)]
    pub background: String,
    /// A short, incomplete alt text, as a web page would have.
    #[serde(default)]
    pub caption: String,
    /// The objects, in [reading order](reading_order).
    pub objects: Vec<SceneObject>,
    /// The words that can be read.
    #[serde(default)]
    pub texts: Vec<SceneText>,
    /// Every relation that holds, for each ordered pair of objects.
    #[serde(default)]
    pub relations: Vec<SceneRelation>,
}

/// One drawn object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneObject {
    /// Its id within the picture.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Shape noun, singular.
    pub shape: String,
    /// Colour adjective.
    pub color: String,
    /// Size adjective.
    pub size: String,
    /// Tight around the whole shape, hidden parts included.
    #[serde(rename = "box")]
    pub bounds: Box2,
    /// Nearness, 0 to 1: the larger is in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<f32>,
}

/// One word in the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneText {
    /// The word as printed.
    pub text: String,
    /// Tight around the ink, clockwise from the text's top left.
    pub quad: Quad,
    /// The object it is printed on; absent on the background.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_id"
    )]
    pub on: Option<String>,
}

/// One relation that holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneRelation {
    /// Object id of the subject.
    #[serde(deserialize_with = "id")]
    pub subject: String,
    /// What the subject is to the object.
    pub relation: Relation,
    /// Object id of the object.
    #[serde(deserialize_with = "id")]
    pub object: String,
}

/// The place of a box in reading order: the third of the height its centre is in (0 to 2), then
/// the x of its centre in pixels.
pub fn reading_order(bounds: &Box2, height: u32) -> (u8, f32) {
    let [x, y] = center(bounds);
    let third = (y * 3.0 / height.max(1) as f32).floor().clamp(0.0, 2.0);
    (third as u8, x)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyId {
    Text(String),
    Number(i64),
}

impl From<AnyId> for String {
    fn from(id: AnyId) -> Self {
        match id {
            AnyId::Text(text) => text,
            AnyId::Number(number) => number.to_string(),
        }
    }
}

/// Reads an id that is a string or a whole number.
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    AnyId::deserialize(deserializer).map(String::from)
}

fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<AnyId>::deserialize(deserializer)?.map(String::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truth_line_survives_writing_and_reading() {
        let line = r#"{"file":"a.png","width":320,"height":400,"background":"plain gray","caption":"x","objects":[{"id":"o1","shape":"star","color":"red","size":"large","box":[1.5,2.0,3.0,4.0],"depth":0.5}],"texts":[{"text":"OPEN","quad":[[1.0,1.0],[2.0,1.0],[2.0,2.0],[1.0,2.0]],"on":"o1"}],"relations":[]}"#;
        let scene: Scene = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&scene).unwrap(), line);
    }

    #[test]
    fn ids_may_be_numbers() {
        let relation: SceneRelation =
            serde_json::from_str(r#"{"subject":1,"relation":"near","object":"2"}"#).unwrap();
        assert_eq!(
            (relation.subject.as_str(), relation.object.as_str()),
            ("1", "2")
        );
    }

    #[test]
    fn reading_order_goes_by_thirds_of_the_height_then_by_x() {
        let at = |x: f32, y: f32| reading_order(&[x - 1.0, y - 1.0, x + 1.0, y + 1.0], 300);
        assert!(at(200.0, 99.0) < at(10.0, 101.0));
        assert!(at(10.0, 90.0) < at(20.0, 10.0));
    }
}
